"""The lab's screen and its dialogs."""
