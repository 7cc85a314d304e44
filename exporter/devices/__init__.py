"""Where artifacts are timed: this machine (host), a phone over adb, Apple's devices on a Mac."""
