"""Part of wsrelay."""
