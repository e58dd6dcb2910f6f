"""Text from elsewhere, before it is shown or stored: cleaned, without secrets, cut to a bound."""
