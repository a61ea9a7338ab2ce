"""The credit trace: rewards, values, TD errors and advantages of one answer, token by token."""
