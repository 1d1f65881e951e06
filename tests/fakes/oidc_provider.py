"""An OpenID Connect provider: real HTTP, real keys, PKCE and the client's secret checked; codes are good once."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlencode

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.fakes.served import Served

CLIENT_ID, CLIENT_SECRET = "voketag client", "a secret: of/tests only"
REDIRECT_URI = "http://127.0.0.1:9/login/callback"
Claims = dict[str, Any]


def unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class SigningKey:
    """A key by its name; `published` is what of it stands in the JWKS document."""

    kid: str
    algorithm: str = "ES256"
    private: Any = None
    published: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        public: Any
        if self.algorithm == "RS256":
            self.private = self.private or rsa.generate_private_key(65537, 2048)
            public = RSAAlgorithm.to_jwk(self.private.public_key())
        elif self.algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(self.private.public_key())
        else:
            self.private = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(self.private.public_key())
        self.published = {**json.loads(public), "kid": self.kid, "use": "sig", "alg": self.algorithm}
        self.published.pop("key_ops", None)

    def sign(self, claims: Claims) -> str:
        return jwt.encode(claims, self.private, self.algorithm, headers={"kid": self.kid})


class OidcProvider(Served):
    """Who is logged in here is `person`; `claims`, `sign`, `metadata`, `redirects` and `userinfo` bend what it says.

    With `reticent` ID tokens name the subject alone, and UserInfo says the rest.

    `away` names paths that answer HTTP 503, `slow` paths that never answer, `moved` paths that redirect, `huge` paths
    whose answer does not end.
    """

    def __init__(self) -> None:
        super().__init__(
            web.get("/.well-known/openid-configuration", self._discover),
            web.get("/jwks", self._jwks),
            web.get("/authorize", self._authorize),
            web.post("/token", self._token),
            web.get("/userinfo", self._userinfo),
            middlewares=[self._faults],
        )
        self.keys = [SigningKey("key-1")]
        self.person: Claims = {"sub": "subject-1", "email": "ada@example.com", "email_verified": True}
        self.claims: Callable[[Claims], Claims] = lambda claims: claims
        self.sign: Callable[[Claims], str] = lambda claims: self.keys[0].sign(claims)
        self.metadata: Callable[[Claims], Claims] = lambda metadata: metadata
        self.redirects: Callable[[Claims], Claims] = lambda query: query
        self.userinfo: Callable[[Claims], web.Response] = web.json_response
        self.reticent = False
        self.now: Callable[[], float] = time.time
        self.away, self.slow, self.moved, self.huge = set[str](), set[str](), set[str](), set[str]()
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._people: dict[str, Claims] = {}

    @property
    def issuer(self) -> str:
        return self.url

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path in self.away:
            return web.Response(status=503)
        if request.path in self.moved:
            return web.Response(status=302, headers={"location": f"{self.issuer}/elsewhere"})
        if request.path in self.slow:
            await self.over.wait()
        if request.path in self.huge:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(100):
                await response.write(b" " * 4096)
            return response
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _discover(self, request: web.Request) -> web.Response:
        metadata = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "code_challenge_methods_supported": ["S256"],
        }
        return web.json_response(self.metadata(metadata))

    async def _jwks(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [key.published for key in self.keys]})

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        wanted = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": REDIRECT_URI}
        known = all(asked.get(name) == value for name, value in wanted.items())
        if not known or asked.get("code_challenge_method") != "S256" or "openid" not in asked.get("scope", "").split():
            return web.Response(status=400, text="no such client, redirect, scope or challenge")
        code = secrets.token_urlsafe(24)
        self._codes[code] = asked
        query = self.redirects({"code": code, "state": asked["state"], "iss": self.issuer})
        return web.Response(status=302, headers={"location": f"{REDIRECT_URI}?{urlencode(query)}"})

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not self._is_client(request.headers.get("authorization", ""), dict(form)):
            return web.json_response({"error": "invalid_client"}, status=401)
        asked = self._codes.pop(str(form.get("code")), None)
        challenge = unpadded(hashlib.sha256(str(form.get("code_verifier")).encode()).digest())
        if asked is None or challenge != asked["code_challenge"] or form.get("redirect_uri") != REDIRECT_URI:
            return web.json_response({"error": "invalid_grant"}, status=400)
        access_token, now = secrets.token_urlsafe(16), int(self.now())
        half = hashlib.sha512 if self.keys[0].algorithm == "EdDSA" else hashlib.sha256
        digest = half(access_token.encode()).digest()
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked.get("nonce"),
            "at_hash": unpadded(digest[: len(digest) // 2]),
            **({"sub": self.person["sub"]} if self.reticent else self.person),
        }
        self._people[access_token] = self.person
        answer = {"access_token": access_token, "token_type": "Bearer", "id_token": self.sign(self.claims(claims))}
        return web.json_response(answer)

    async def _userinfo(self, request: web.Request) -> web.Response:
        """By the access token in the header alone (RFC 6750, 2.1)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._people or request.query_string:
            return web.json_response({"error": "invalid_token"}, status=401)
        return self.userinfo(self._people[token])

    def _is_client(self, authorization: str, form: dict[str, Any]) -> bool:
        """By header or form (RFC 6749, 2.3.1), and not by both."""
        scheme, _, pair = authorization.partition(" ")
        if scheme.lower() == "basic":
            name, _, secret = base64.b64decode(pair).decode().partition(":")
            return (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET) and "client_id" not in form
        return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
