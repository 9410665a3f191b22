"""
Real relay processes between real clients and real servers, on loopback sockets.
"""
