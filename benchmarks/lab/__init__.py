"""The machinery: starts contenders, loads them, accounts for their CPU time, makes the tables."""
