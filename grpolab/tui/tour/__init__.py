"""The guided tour for a first visit."""
