"""What each engine calls and writes differently."""
