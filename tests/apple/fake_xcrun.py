"""A stand-in for Apple's `xcrun`, `devicectl` and `xcodebuild`: no Mac and no iPhone is behind it.

It answers the calls that coremltools 9 makes, in the form of `devicectl`'s JSON output, from the
folder $APPLE_STAND_IN: devices.json is what is listed, calls.log what was called, app/ the data
container of the app on the device. The app's answers are those of coremltools' ModelRunner, with
made-up durations. `gone` in the folder makes the device vanish.
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(os.environ["APPLE_STAND_IN"])
BUNDLE = "com.coremltools.modelrunnerd"
LOAD_NS, PREDICT_NS = 12_500_000, 2_000_000


def value(arguments, *names):
    """What follows an option, or comes with it after "="."""
    for index, argument in enumerate(arguments):
        if argument in names:
            return arguments[index + 1]
        if argument.partition("=")[0] in names:
            return argument.partition("=")[2]
    return ""


def answer(arguments, result):
    document = {"info": {"outcome": "success"}, "result": result}
    Path(value(arguments, "-j", "--json-output")).write_text(json.dumps(document))


def copy_to(source, destination):
    target = HERE / "app" / destination
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        target.write_bytes(source.read_bytes())
    if target.name == "message.json":
        respond(json.loads(target.read_text()), target.parents[3])


def respond(message, documents):
    """As ModelRunner does: durations in nanoseconds, results in a file of tensors."""
    folder = documents / "responses" / message["id"]
    folder.mkdir(parents=True)
    parameters = message["params"]
    reply = {"id": message["id"], "result": {"modelID": parameters["modelID"]}}
    if message["method"] == "MLModelService.Load":
        reply["result"]["duration"] = LOAD_NS
    elif message["method"] == "MLModelService.Prediction":
        if any(given["dataType"] == "UInt8" for given in parameters["inputs"].values()):
            reply = {"id": message["id"], "error": {"code": 1, "message": "arrays only"}}
        else:
            storage = {"offset": 0, "size": 4}
            logits = {"shape": [1], "strides": [1], "dataType": "Float32", "storage": storage}
            (folder / "results.bin").write_bytes(bytes(4))
            reply["result"] |= {"duration": PREDICT_NS, "outputs": {"logits": logits}}
            reply["resource"] = "results.bin"
    (folder / "message.json").write_text(json.dumps(reply))


def main():
    arguments = sys.argv[1:]
    name = Path(sys.argv[0]).name
    if name == "xcrun" and arguments[:1] == ["--find"]:
        sys.stdout.write(str(HERE / "bin" / arguments[1]))
        return
    if name == "xcrun":
        name, *arguments = arguments
    with (HERE / "calls.log").open("a") as log:
        log.write(f"{name} {' '.join(arguments)}\n")
    if (HERE / "gone").exists():
        sys.exit("ERROR: The device is not connected. (com.apple.dt.CoreDeviceError 1011)")
    verb = [a for a in arguments if not a.startswith("-")]
    if verb[:2] == ["list", "devices"]:
        answer(arguments, {"devices": json.loads((HERE / "devices.json").read_text())})
    elif verb[:3] == ["device", "install", "app"]:
        app = {"bundleID": BUNDLE, "databaseUUID": "0"}
        answer(arguments, {"installedApplications": [app]})
    elif verb[:3] == ["device", "process", "launch"]:
        sys.stdin.read()  # until the other end closes it
    elif verb[:2] == ["device", "copy"]:
        source, destination = value(arguments, "--source"), value(arguments, "--destination")
        if verb[2] == "to":
            copy_to(Path(source), destination)
        else:
            found = HERE / "app" / source
            if not found.is_file():
                sys.exit("ERROR: The file does not exist.")
            Path(destination).write_bytes(found.read_bytes())
        answer(arguments, {"source": source, "destination": destination})


main()
