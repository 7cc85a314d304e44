"""How long artifacts take: one schema for every device (records), and honest figures of it."""
