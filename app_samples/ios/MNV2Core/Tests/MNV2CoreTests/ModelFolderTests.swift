import XCTest

@testable import MNV2Core

/// The chain from code to model: what is changed anywhere is named.
final class ModelFolderTests: XCTestCase {
    private var copy: URL!
    private var recording: Recording!

    override func setUpWithError() throws {
        recording = try Recording.named("classification")
        copy = FileManager.default.temporaryDirectory
            .appendingPathComponent("mnv2-\(ProcessInfo.processInfo.globallyUniqueString)")
        try FileManager.default.copyItem(at: recording.files.url("model"), to: copy)
    }

    override func tearDownWithError() throws {
        if let copy { try FileManager.default.removeItem(at: copy) }
    }

    private func problem(_ pins: Pins? = nil) -> Problem? {
        do {
            _ = try ModelFolder.open(copy, pins: pins ?? recording.pins)
            return nil
        } catch {
            return error as? Problem
        }
    }

    private func append(to name: String) throws {
        let file = copy.appendingPathComponent(name)
        try (Data(contentsOf: file) + Data([32])).write(to: file)
    }

    /// With the pin changed along, so that the manifest itself is what is looked at.
    private func edited(_ old: String, _ new: String) throws -> Problem? {
        let file = copy.appendingPathComponent("manifest.json")
        let text = try String(contentsOf: file, encoding: .utf8)
        XCTAssertTrue(text.contains(old), old)
        let data = Data(text.replacingOccurrences(of: old, with: new).utf8)
        try data.write(to: file)
        return problem(
            Pins(
                manifestSHA256: SHA256.hex(data), artifact: recording.pins.artifact,
                artifactSHA256: recording.pins.artifactSHA256))
    }

    func testAnUntouchedModelIsOpened() {
        XCTAssertNil(problem())
    }

    func testAChangedManifestIsNamed() throws {
        try append(to: "manifest.json")
        XCTAssertEqual(problem(), .modelChanged(file: "manifest.json"))
    }

    func testAChangedPackageIsNamed() throws {
        try append(to: "\(recording.pins.artifact)/Manifest.json")
        XCTAssertEqual(problem(), .modelChanged(file: recording.pins.artifact))
    }

    func testAFileMoreInThePackageIsNamed() throws {
        let stray = copy.appendingPathComponent("\(recording.pins.artifact)/Data/stray")
        try Data().write(to: stray)
        XCTAssertEqual(problem(), .modelChanged(file: recording.pins.artifact))
    }

    func testAChangedGoldenImageIsNamed() throws {
        try append(to: "golden/00-black.png")
        XCTAssertEqual(problem(), .modelChanged(file: "golden"))
    }

    func testWhatIsMissingIsNamed() throws {
        let package = copy.appendingPathComponent(recording.pins.artifact)
        try FileManager.default.removeItem(at: package)
        XCTAssertEqual(problem(), .modelMissing(file: recording.pins.artifact))
        let manifest = copy.appendingPathComponent("manifest.json")
        try FileManager.default.removeItem(at: manifest)
        XCTAssertEqual(problem(), .modelMissing(file: "manifest.json"))
    }

    func testAManifestOfAnotherBuildIsNamed() {
        let pins = recording.pins
        let other = Pins(
            manifestSHA256: pins.manifestSHA256, artifact: pins.artifact, artifactSHA256: "0")
        XCTAssertEqual(problem(other), .modelChanged(file: "manifest.json"))
    }

    func testABuildThatTheAppWouldMisreadIsRefused() throws {
        for (old, new) in [
            ("\"schema_version\": 1", "\"schema_version\": 2"),
            ("\"outputs\": \"logits\"", "\"outputs\": \"raw\"  "),
            ("\"nms\": \"none\"", "\"nms\": \"native\""),
            ("\"io\": \"float32\"", "\"io\": \"uint8\""),
            ("\"format\": \"mlpackage\"", "\"format\": \"pte\""),
            ("\"batch\": 1", "\"batch\": 4"),
        ] {
            guard case .notSupported = try edited(old, new) else {
                return XCTFail("\(new) was not refused")
            }
            _ = try edited(new, old)
        }
    }

    func testAManifestThatIsNotOneIsNamed() throws {
        let problem = try edited("\"spec\"", "\"speck\"")
        guard case .unreadable(file: "manifest.json", _) = problem else {
            return XCTFail("it was read")
        }
    }

    func testSystemsOlderThanTheDeploymentTargetAreToldSo() throws {
        let manifest = try ModelFolder.open(copy, pins: recording.pins).manifest
        XCTAssertEqual(manifest.requiredSystem, 17)
        XCTAssertNoThrow(try manifest.checkSystem(major: 17))
        XCTAssertThrowsError(try manifest.checkSystem(major: 16))
    }

    func testEveryProblemHasATitleAndANextStep() {
        let problems: [Problem] = [
            .modelMissing(file: "a"), .modelChanged(file: "a"), .unreadable(file: "a", reason: "b"),
            .notSupported("a"), .notAnImage, .cannotBeResized(from: "a", to: "b"),
            .runtimeRefused("a"), .unexpectedResult("a"),
        ]
        for problem in problems {
            XCTAssertFalse(problem.title.isEmpty)
            XCTAssertFalse(problem.advice.isEmpty)
            XCTAssertEqual(problem.localizedDescription, "\(problem.title): \(problem.advice)")
        }
    }
}
