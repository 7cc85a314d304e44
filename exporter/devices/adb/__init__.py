"""A phone over adb; a profile walks down this list.

client     the adb program and its failures
facts      what Android's tools print, parsed
phone      one phone's facts, heat and room
job        the build directory that is profiled
runner     the program for the phone, a bundle or a user's own
payload    what is pushed beside it
changes    what is changed on the phone, and put back
measure    the runner, started in turn for every artifact
results    what it computed, against the golden and this machine
outcomes   all of it as one artifact's record
session    the whole of it
"""

from exporter.devices.adb.session import profile

__all__ = ["profile"]
