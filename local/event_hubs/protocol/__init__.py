"""Bytes on the wire: Proton's engine, handshake, frames, SASL, WebSocket."""
