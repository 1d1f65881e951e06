import pytest

from anchor.target import Policy


@pytest.mark.parametrize(
    ("text", "targets", "needed"),
    [
        ("all chain", ("chain",), 1),
        ("any chain polygon", ("chain", "polygon"), 1),
        ("all chain tsa", ("chain", "tsa"), 2),
        ("2 of chain polygon tsa-eu", ("chain", "polygon", "tsa-eu"), 2),
        ("any chain tsar", ("chain", "tsar"), 1),
    ],
)
def test_a_policy(text: str, targets: tuple[str, ...], needed: int) -> None:
    assert Policy.parse(text) == Policy(targets, needed)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a policy is"),
        ("chain", "a policy is"),
        ("all", "a policy is"),
        ("all  chain", "a policy is"),
        ("0 of chain", "a policy is"),
        ("all Chain", "a policy is"),
        ("all chain chain", "each target once"),
        ("2 of chain", "2 of 1 targets"),
        ("any chain tsa", "time stamps alone could meet the policy: it has to ask for more than 1"),
        ("2 of chain tsa tsa-eu", "more than 2"),
        ("all tsa", "more than 1"),
        ("all tsa chain", "a chain first"),
    ],
)
def test_what_is_no_policy(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Policy.parse(text)
