"""Keys and tokens of an issuer, made by PyJWT: prints one JSON document with a key set and tokens by name."""

import json
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = sys.argv[1:3]
KEYS = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "PS384": rsa.generate_private_key(public_exponent=65537, key_size=3072),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public_jwk(algorithm, key):
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": algorithm, "use": "sig"}


def token(algorithm="RS256", key=None, kid=None, **claims):
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "scope": "read write", "exp": int(time.time()) + 600, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, key or KEYS[algorithm], algorithm=algorithm, headers={"kid": kid or algorithm})


now = int(time.time())
stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pem = KEYS["RS256"].public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def confused():
    """RFC 8725 §2.1: the public key as the secret of HS256. PyJWT itself refuses to make it."""
    import base64
    import hashlib
    import hmac

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    header = {"alg": "HS256", "kid": "RS256", "typ": "JWT"}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "mallory", "scope": "read", "exp": now + 600}
    head = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    return (head + b"." + part(hmac.new(pem, head, hashlib.sha256).digest())).decode()


print(
    json.dumps(
        {
            "jwks": {"keys": [public_jwk(algorithm, key) for algorithm, key in KEYS.items()]},
            "good": {algorithm: token(algorithm) for algorithm in KEYS} | {"list of audiences": token(aud=["x", AUDIENCE])},
            "bad": {
                "expired": token(exp=now - 600),
                "not yet": token(nbf=now + 600),
                "no exp": token(exp=None),
                "another audience": token(aud="x"),
                "another issuer": token(iss="https://evil.example"),
                "a stranger's key": token(key=stranger),
                "an unknown key": token(key=stranger, kid="unknown"),
                "alg none": jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "mallory", "exp": now + 600}, None, algorithm="none"),
                "the public key as a secret": confused(),
            },
            "little": token(scope="write"),
        }
    )
)
