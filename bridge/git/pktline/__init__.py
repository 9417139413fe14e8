"""Git's wire protocol for smart HTTP(S), spoken without a git process.

`lines` and `pack` are pure formats, `messages` the requests and replies made of them, `session`
one HTTP connection with a bound on bytes and time, `credentials` asks git's own helpers. Only what
the bus needs is here: ls-refs and fetch of protocol 2, and a push. Whatever is not exactly as
expected is a `SurpriseError`, and the caller lets git do it.

Source: gitprotocol-v2(5), gitprotocol-pack(5), gitprotocol-http(5), gitformat-pack(5).
"""
