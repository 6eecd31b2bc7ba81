"""The message bus, whatever carries it.

A map of the modules; each row begins with the one to read first.

    subscription: parcels
"""
