"""A remote signer: HTTP, the call eth_signTransaction, and proofs that each side has the token."""

import hmac
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from eth_account.signers.local import LocalAccount

from anchor.remote_signer import NONCE, PROOF, proof
from tests.fakes.served import Served

Wish = dict[str, Any]


class RemoteSignerServer(Served):
    """`change` bends what is asked before it is signed, `reply` the answer, `proves` its proof."""

    def __init__(self, account: LocalAccount, token: str) -> None:
        super().__init__(web.post("/", self._handle))
        self.account = account
        self.token = token
        self.asked = 0
        self.refused = 0
        self.change: Callable[[Wish], Wish] = lambda wish: wish
        self.reply: Callable[[bytes], bytes] = lambda body: body
        self.proves: Callable[[str, bytes], str] = lambda nonce, body: proof(self.token.encode(), "answer", nonce, body)
        self.status = 200
        self.hangs = False

    async def _handle(self, request: web.Request) -> web.Response:
        body, nonce, token = await request.read(), request.headers.get(NONCE, ""), self.token.encode()
        if not hmac.compare_digest(request.headers.get(PROOF, ""), proof(token, "request", nonce, body)):
            self.refused += 1
            return web.Response(status=401)
        self.asked += 1
        if self.hangs:
            await self.over.wait()
        answer = self.reply(json.dumps(self._sign(json.loads(body))).encode())
        headers = {PROOF: self.proves(nonce, answer)}
        return web.Response(status=self.status, body=answer, content_type="application/json", headers=headers)

    def _sign(self, call: Wish) -> Wish:
        wish = self.change(dict(call["params"][0]))
        if wish.pop("from") != self.account.address:
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": "another account"}}
        signed = self.account.sign_transaction(wish)
        return {"jsonrpc": "2.0", "id": call["id"], "result": "0x" + signed.raw_transaction.hex().removeprefix("0x")}
