"""What proves the claims about speed and repeatability."""
