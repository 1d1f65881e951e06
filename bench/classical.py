"""Issuing as it is usually built, to race against: FastAPI, stored tokens, a queue filled after the commit.

Per product one HMAC in a pool of 20 threads; token and URL are stored, each with a unique index; COPY by 500; a Merkle
tree over hex text that duplicates the last leaf; INSERT of the batch and then LPUSH of its job. One process of uvicorn
on uvloop and httptools. It is the reference of bench/race.py and serves nothing else.

Run by bench.race: python -m bench.classical PORT DSN VALKEY_URL
"""

import asyncio
import base64
import hashlib
import hmac
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field
from redis.asyncio import Redis

KEY = bytes(32)
THREADS = 20
COPY_ROWS = 500
URL_PREFIX = "https://app.voketag.com/r/"
QUEUE = "classical:batches"
SCHEMA = """
CREATE SCHEMA classical;
CREATE TABLE classical.batches (
  batch_id uuid PRIMARY KEY, name text NOT NULL, product_count integer NOT NULL, merkle_root text NOT NULL,
  state text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE classical.products (
  product_id uuid PRIMARY KEY, batch_id uuid NOT NULL REFERENCES classical.batches, attributes jsonb NOT NULL,
  token text NOT NULL UNIQUE, url text NOT NULL UNIQUE, created_at timestamptz NOT NULL DEFAULT now());
"""
COLUMNS = ("product_id", "batch_id", "attributes", "token", "url")


class Product(BaseModel):
    """A product as it is ordered."""

    sku: str = Field(max_length=64)
    gtin: str = Field(max_length=14)
    serial: str = Field(max_length=64)
    name: str = Field(max_length=200)
    market: str = Field(max_length=2)
    expiry: str = Field(max_length=10)


class Order(BaseModel):
    """A batch as it is ordered."""

    name: str
    products: list[Product] = Field(min_length=1)


def sign(product_id: UUID) -> str:
    tag = hmac.new(KEY, product_id.bytes, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(product_id.bytes + tag).rstrip(b"=").decode()


def merkle_root(leaves: list[str]) -> str:
    """Of hex text, level by level, with the last one doubled where they are odd."""
    while len(leaves) > 1:
        if len(leaves) % 2:
            leaves.append(leaves[-1])
        leaves = [hashlib.sha256((leaves[i] + leaves[i + 1]).encode()).hexdigest() for i in range(0, len(leaves), 2)]
    return leaves[0]


def app(dsn: str, valkey_url: str) -> FastAPI:
    """The service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = await asyncpg.create_pool(dsn, min_size=4, max_size=10)
        app.state.valkey = Redis.from_url(valkey_url)
        app.state.threads = ThreadPoolExecutor(THREADS)
        yield
        app.state.threads.shutdown()
        await app.state.valkey.aclose()
        await app.state.pool.close()

    service = FastAPI(lifespan=lifespan)

    @service.get("/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @service.post("/v1/batches")
    async def create(order: Order) -> dict[str, Any]:
        batch_id, ids = uuid4(), [uuid4() for _ in order.products]
        loop = asyncio.get_running_loop()
        tokens = await asyncio.gather(*(loop.run_in_executor(service.state.threads, sign, each) for each in ids))
        root = merkle_root([hashlib.sha256(token.encode()).hexdigest() for token in tokens])
        rows = [
            (product_id, batch_id, orjson.dumps(product.model_dump()).decode(), token, URL_PREFIX + token)
            for product_id, product, token in zip(ids, order.products, tokens, strict=True)
        ]
        async with service.state.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO classical.batches (batch_id, name, product_count, merkle_root, state)"
                " VALUES ($1, $2, $3, $4, 'PENDING')",
                batch_id,
                order.name,
                len(rows),
                root,
            )
            for first in range(0, len(rows), COPY_ROWS):
                await connection.copy_records_to_table(
                    "products", schema_name="classical", records=rows[first : first + COPY_ROWS], columns=COLUMNS
                )
        await service.state.valkey.lpush(QUEUE, str(batch_id))
        return {"batch_id": batch_id, "merkle_root": root, "tokens": tokens}

    return service


if __name__ == "__main__":
    port, dsn, valkey_url = sys.argv[1:]
    uvicorn.run(app(dsn, valkey_url), host="127.0.0.1", port=int(port), log_level="error", http="httptools")
