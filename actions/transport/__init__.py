"""All I/O towards receivers: HTTP and SMTP, where they may connect to, and how they are trusted."""
