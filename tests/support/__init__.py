"""What several test packages share: processes, ports, small servers."""
