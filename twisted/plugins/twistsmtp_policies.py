"""The policies that come with twistsmtp, by name."""
