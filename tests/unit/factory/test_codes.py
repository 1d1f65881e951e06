"""Every code that can be drawn is read back by a decoder that is none of ours."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest

from factory.codes import QUIET_ZONE, Codes, ErrorLevel, QrFormat, Turns, draw, qr_code
from mesh.errors import TokenMalformed
from tests import scanner
from trust.token import Token, encode

PREFIX = "https://app.voketag.com/r/"
MODULES = {ErrorLevel.L: 33, ErrorLevel.M: 33, ErrorLevel.Q: 41, ErrorLevel.H: 45}


def new_token() -> str:
    return encode(Token(1, os.urandom(16), os.urandom(14)))


@pytest.mark.parametrize("level", ErrorLevel)
@pytest.mark.parametrize("scale", [1, 2, 4, 7, 20])
def test_code_is_read_back(level: ErrorLevel, scale: int) -> None:
    token = new_token()
    code = qr_code(PREFIX, token, level)
    edge = (MODULES[level] + 2 * QUIET_ZONE) * scale
    for image in (
        scanner.png(draw(code, QrFormat.PNG, scale)),
        scanner.svg(draw(code, QrFormat.SVG, scale), zoom=1 + 3 // scale),
    ):
        assert image.size[0] == image.size[1]
        assert image.size[0] % edge == 0
        read = scanner.only(image)
        assert read.text == PREFIX + token
        assert read.ec_level == level.value.upper()


@pytest.mark.parametrize("token", [bytes(31), b"\xff" * 31], ids=["zeros", "ones"])
@pytest.mark.parametrize("level", ErrorLevel)
def test_extreme_tokens_have_the_same_size(token: bytes, level: ErrorLevel) -> None:
    text = encode(Token(token[0], token[1:17], token[17:]))
    code = qr_code(PREFIX, text, level)
    assert code.symbol_size(border=0) == (MODULES[level], MODULES[level])
    assert scanner.only(scanner.png(draw(code, QrFormat.PNG, 3))).text == PREFIX + text


def test_a_code_is_drawn_the_same_again() -> None:
    token = new_token()
    for form in QrFormat:
        first, second = (draw(qr_code(PREFIX, token, ErrorLevel.M), form, 4) for _ in range(2))
        assert first == second


@pytest.mark.parametrize(
    "change", [str.lower, lambda t: t[:-1], lambda t: t + "0", lambda t: t[:-1] + "Z", lambda _: "é"]
)
async def test_what_is_no_token_is_not_drawn(change: Callable[[str], str]) -> None:
    codes = Codes(Turns(), url_prefix=PREFIX)
    with pytest.raises(TokenMalformed):
        await codes.draw(change(new_token()), QrFormat.SVG, ErrorLevel.M, 0)


async def test_scale_left_open_is_four() -> None:
    image = await Codes(Turns(), url_prefix=PREFIX).draw(new_token(), QrFormat.PNG, ErrorLevel.M, 0)
    assert scanner.png(image).size == (164, 164)


async def test_the_loop_goes_on_while_a_code_is_drawn() -> None:
    went_on, usual = threading.Event(), sys.getswitchinterval()
    drawing = asyncio.create_task(Turns().take(lambda: (went_on.wait(10), sys.getswitchinterval())))
    await asyncio.sleep(0)
    went_on.set()
    seen, interval = await drawing
    assert seen
    assert interval < usual == sys.getswitchinterval()


async def test_one_drawing_at_a_time_whoever_asks() -> None:
    turns, drawing = Turns(), threading.Lock()

    def draw_alone(number: int) -> int:
        assert drawing.acquire(blocking=False)
        scanner.png(draw(qr_code(PREFIX, new_token(), ErrorLevel.L), QrFormat.PNG, 1))
        drawing.release()
        return number

    assert await asyncio.gather(*(turns.take(partial(draw_alone, number)) for number in range(20))) == list(range(20))


async def test_a_drawing_that_fails_leaves_the_turn_to_the_next() -> None:
    turns, usual = Turns(), sys.getswitchinterval()
    with pytest.raises(ZeroDivisionError):
        await turns.take(lambda: 1 // 0)
    assert sys.getswitchinterval() == usual
    assert await turns.take(lambda: 1) == 1
