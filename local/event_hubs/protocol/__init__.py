"""The wire protocol: Proton's engine, handshake, frames, SASL, WebSocket."""
