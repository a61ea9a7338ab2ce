"""Every algorithm's formula beside the current one, with live numbers and source."""
