import json
import sys
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecross.jws import StrictJsonError, loads_strict

# What UTF-8 can carry: everything but surrogates.
text = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)

pieces = ["{", "}", "[", "]", ":", ",", " ", "\n", "\ufeff", "\x00", "1", "-1.5e3", "1e999", "true", "null", "NaN"]
texts = ['"a"', '"a":', '"b":', r'"\ud83d\ude00"', r'"\udc00"', r'"\\ud800"']
nearly_json = st.lists(st.sampled_from(pieces + texts), max_size=8).map("".join)


@given(json_values, st.sampled_from(["ascii", "utf-8"]), st.sampled_from([None, 1, "\t"]))
def test_every_value_is_read_back_as_it_was_written(value: object, encoding: str, indent: int | str | None) -> None:
    written = json.dumps(value, ensure_ascii=encoding == "ascii", indent=indent)

    assert loads_strict(f" \r\n\t{written}\n".encode()) == value


@given(nearly_json.map(str.encode) | st.binary(max_size=40))
@example(b'"\\ud800"')
@example(b"")
def test_what_is_accepted_is_what_the_standard_library_reads(data: bytes) -> None:
    try:
        value = loads_strict(data)
    except StrictJsonError:
        return
    assert value == json.loads(data.decode())


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "b": [{}, [], ""]}', "0", "-0.5E-3", "null", ' "x" ', '"\\u0041\\n\\/"', "1e-999999"],
)
def test_json_that_peers_agree_on_is_accepted(text: str) -> None:
    assert loads_strict(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "data",
    [
        '{"name": 1, "name": 1}',
        '{"a": [{"b": {"name": 1, "other": 2, "name": 3}}]}',
        '{"name": 1, "\\u006eame": 2}',
        '{"": 1, "": 2}',
    ],
)
def test_a_member_named_twice_at_any_level_is_refused(data: str) -> None:
    with pytest.raises(StrictJsonError, match="named twice"):
        loads_strict(data.encode())


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", '{"a": [NaN]}', "[1, -Infinity]"])
def test_numbers_that_json_does_not_have_are_refused(constant: str) -> None:
    with pytest.raises(StrictJsonError, match="NaN or an infinity"):
        loads_strict(constant.encode())


@pytest.mark.parametrize("number", ["1e400", "-1e400", '{"a": 17e999}'])
def test_a_number_too_large_for_a_float_is_refused_and_never_read_as_infinity(number: str) -> None:
    with pytest.raises(StrictJsonError, match="too large"):
        loads_strict(number.encode())
    assert loads_strict(b"1.7976931348623157e308") == sys.float_info.max


@pytest.mark.parametrize(
    "data",
    [
        r'"\ud800"',
        r'"\uD800"',
        r'"\udfff"',
        r'"\uDC00\uD800"',
        r'"\ud800\u0041"',
        r'"x\ud83d x"',
        r'{"a": [{"b": "\ud800"}]}',
        r'{"\ud800": 1}',
        r'[[{"a": {"\uDBFF": null}}]]',
        r'"\\\ud800"',
    ],
)
def test_an_unpaired_surrogate_is_refused_in_names_and_values_at_any_depth(data: str) -> None:
    with pytest.raises(StrictJsonError, match="surrogate"):
        loads_strict(data.encode())


def test_a_surrogate_pair_and_an_escaped_backslash_are_no_unpaired_surrogates() -> None:
    assert loads_strict(rb'{"\ud83d\ude00": "\uD83D\uDE00", "a": "\\ud800"}') == {
        "\U0001f600": "\U0001f600",
        "a": r"\ud800",
    }


@pytest.mark.parametrize(
    "data",
    [
        b'"\xff"',
        b'"\xc3"',
        b'"\xc0\x80"',  # overlong
        b'"\xed\xa0\x80"',  # a surrogate written as UTF-8
        b'"\xf4\x90\x80\x80"',  # beyond Unicode
        b"\xff\xfe1\x00",
        '"é"'.encode("latin-1"),
        '{"a": "é"}'.encode("utf-16"),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused(data: bytes) -> None:
    with pytest.raises(StrictJsonError, match="not UTF-8"):
        loads_strict(data)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_neither_byte_order_mark_nor_other_encodings_are_detected(encoding: str) -> None:
    data = '{"a": 1}'.encode(encoding)
    assert json.loads(data) == {"a": 1}

    with pytest.raises(StrictJsonError):
        loads_strict(data)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_too_deep_for_the_parser_is_refused(opening: str) -> None:
    with pytest.raises(StrictJsonError):
        loads_strict((opening * 200_000).encode())


def test_closed_nesting_too_deep_for_the_parser_is_refused() -> None:
    with pytest.raises(StrictJsonError, match="nested too deeply"):
        loads_strict(b"[" * 200_000 + b"]" * 200_000)


def test_an_integer_with_too_many_digits_is_refused() -> None:
    with pytest.raises(StrictJsonError, match="too many digits"):
        loads_strict(b"[" + b"9" * 10_000 + b"]")


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("", "line 1, column 1"),
        ("  \n ", "line 2, column 2"),
        ("{'a': 1}", "line 1, column 2"),
        ('{"a": 1,\n "b": x}', "line 2, column 7"),
        ('{"a": 1} {"b": 2}', "line 1, column 9"),
        ("[1,]", "line 1, column"),
        ("01", "line 1, column 2"),
        ('"a\nb"', "line 1, column 3"),
        ('"\\x41"', "line 1, column"),
        ("\x0b1", "line 1, column 1"),
        ("1\x0c", "line 1, column 2"),
        ("\u00a01", "line 1, column 1"),
        ("/* no */ 1", "line 1, column 1"),
        ("truest", "line 1, column 5"),
        ("\x00", "line 1, column 1"),
    ],
)
def test_the_message_tells_the_place_of_the_fault(data: str, place: str) -> None:
    with pytest.raises(StrictJsonError, match=place):
        loads_strict(data.encode())


@pytest.mark.parametrize(
    "data",
    [
        b'{"clientSecret": "hunter2hunter2" hunter2}',
        b'{"hunter2": 1, "hunter2": 2}',
        b'{"hunter2": "\\ud800"}',
        b'{"hunter2": "\xff"}',
        b'{"hunter2": NaN}',
        b'{"hunter2": 1e999}',
        b'{"hunter2": ' + b"7" * 5000 + b"}",
        b'{"hunter2": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_the_error_holds_nothing_of_the_data_and_no_other_error_that_does(data: bytes) -> None:
    with pytest.raises(StrictJsonError) as caught:
        loads_strict(data)

    error = caught.value
    assert "hunter2" not in repr(error)
    assert "777" not in repr(error)
    assert error.__context__ is None
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "text", ["0.1", "0.10", "-0.0", "9.99", "1e2", "0.12345678901234567890123", "1.7976931348623157e308", "1e-400"]
)
def test_exact_numbers_keep_the_digits_that_were_sent(text: str) -> None:
    value = loads_strict(f'[{text}, 3, "\\ud83d\\ude00"]'.encode(), exact=True)
    assert value == [Decimal(text), 3, "\U0001f600"]
    assert isinstance(value, list)
    assert str(value[0]) == str(Decimal(text))
    assert isinstance(value[1], int)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1e400", "a number too large"),
        ("-1e400", "a number too large"),
        ("1e-99999999999999999999", "a number with too large an exponent"),
        ("0." + "1" * 5_000, "a number with too many digits"),
        ("NaN", "NaN or an infinity"),
        ('{"a": 1.0, "a": 1.0}', "a member is named twice in an object"),
        (r'[0.5, "\ud800"]', "an unpaired surrogate in a string"),
    ],
)
def test_exact_numbers_are_as_bounded_as_others(text: str, fault: str) -> None:
    with pytest.raises(StrictJsonError, match=f"^{fault}$") as caught:
        loads_strict(text.encode(), exact=True)
    assert caught.value.__context__ is None
