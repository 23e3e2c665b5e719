"""The client port: calls, the services that answer them, and what carries them.

A service is written once against `Call` and cannot tell which transport it is on.
"""
