"""One function per MIL operation."""
