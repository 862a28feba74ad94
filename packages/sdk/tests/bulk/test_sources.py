"""Reading: the same entries from JSON Lines, CSV and objects; faults with their lines and without their values."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecross._bulk import Source
from ecross._bulk.entries import Entry, Fault
from ecross._bulk.lines import LONGEST_LINE
from ecross._bulk.sources import read_entries
from ecross._bulk.subjects import SUBJECTS, Subject
from ecross.errors import ConfigurationError
from ecross.types import SaleChannelData, SkuAttribute, SkuDraft

CATALOG, STOCK = SUBJECTS["catalog"], SUBJECTS["stock"]

# What a cell can hold: no empty text, which stands for a missing field, and nothing that its reader takes away.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
IDS = st.text(st.characters(categories=["L", "N", "P"], exclude_characters="/"), min_size=1, max_size=8)
NUMBERS = st.decimals(min_value=Decimal("-1e6"), max_value=Decimal("1e6"), places=6) | st.integers(0, 10**12)
ADDRESSES = st.from_regex(r"https://[a-z]{1,9}\.example/[!-{}~]{0,9}", fullmatch=True)
SKUS = st.fixed_dictionaries(
    {"skuId": IDS, "productId": IDS},
    optional={
        "main": st.booleans(),
        "name": TEXTS,
        "description": TEXTS,
        "weight": NUMBERS,
        "localizedListPriceWithTaxes": NUMBERS,
        "images": st.lists(ADDRESSES, min_size=1, max_size=3),
        "globalSaleChannelData": st.fixed_dictionaries(
            {"active": st.booleans()},
            optional={
                "brand": TEXTS,
                "attributes": st.lists(st.fixed_dictionaries({"name": TEXTS, "value": TEXTS}), max_size=3),
            },
        ),
    },
)


def read(source: Source | bytes, subject: Subject = CATALOG) -> list[Entry | Fault]:
    return list(read_entries(io.BytesIO(source) if isinstance(source, bytes) else source, subject))


def faults(source: bytes, subject: Subject = CATALOG) -> list[tuple[int, str | None, str, str]]:
    found = read(source, subject)
    assert all(isinstance(each, Fault) for each in found), found
    return [(each.line, each.key, each.path, each.message) for each in found if isinstance(each, Fault)]


def digits(value: object) -> str:
    """A number as a person writes it, all other values as JSON."""
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def as_json(sku: dict[str, Any]) -> str:
    return f"{{{', '.join(f'{json.dumps(name)} : {digits(value)}' for name, value in sku.items())}}}"


def cell(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[0], str):
        return " | ".join(value)
    return digits(value)


def as_csv(skus: list[dict[str, Any]], delimiter: str) -> str:
    flat = []
    for sku in skus:
        data = {f"globalSaleChannelData.{name}": value for name, value in sku.get("globalSaleChannelData", {}).items()}
        flat.append({name: cell(value) for name, value in {**sku, **data}.items() if name != "globalSaleChannelData"})
    out = io.StringIO()
    names = list(dict.fromkeys(["skuId", "productId", *(name for each in flat for name in each)]))
    writer = csv.DictWriter(out, names, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


class TestOneForm:
    @settings(max_examples=30, deadline=None)
    @given(
        skus=st.lists(SKUS, min_size=1, max_size=5),
        delimiter=st.sampled_from([",", ";", "\t"]),
        mark=st.sampled_from(["", "\ufeff"]),
    )
    def test_the_same_entries_come_from_lines_tables_and_objects(
        self, skus: list[dict[str, Any]], delimiter: str, mark: str
    ) -> None:
        lines = mark + "\n".join(map(as_json, skus)) + "\n\n"
        table = mark + as_csv(skus, delimiter)

        objects = [each for each in read(skus) if isinstance(each, Entry)]

        assert read(lines.encode()) == objects
        from_table = read(table.encode())
        assert [(each.key, each.id, each.body) for each in from_table if isinstance(each, Entry)] == [
            (each.key, each.id, each.body) for each in objects
        ]
        assert [(each.key, each.id) for each in objects] == [(sku["productId"], sku["skuId"]) for sku in skus]
        assert [json.loads(each.body, parse_float=Decimal) for each in objects] == skus

    def test_text_and_binary_files_and_paths_give_the_same(self, tmp_path: Path) -> None:
        text = '\ufeff{"skuId": "1", "productId": "Ω", "name": "☕"}'
        path = tmp_path / "catalog.jsonl"
        path.write_text(text, encoding="utf-8")

        (entry,) = read(path)

        assert isinstance(entry, Entry)
        assert read(str(path)) == read(io.StringIO(text)) == read(text.encode()) == [entry]

    def test_numbers_keep_their_digits_and_lose_what_means_nothing(self) -> None:
        (entry,) = read(b'{"skuId":"1","productId":"P","weight":0.1000,"height":4.0,"width":12345678.123456}')

        assert isinstance(entry, Entry)
        assert entry.body == b'{"height":4,"productId":"P","skuId":"1","weight":0.1,"width":12345678.123456}'

    def test_drafts_are_objects_too(self) -> None:
        data = SaleChannelData(
            is_active=True, brand="B", size=None, color=None, category=None, attributes=(SkuAttribute("n", "v"),)
        )
        draft = SkuDraft("1", "P", "Mug", weight_kg=Decimal("0.30"), sale_channel_data=data)

        (entry,) = read([draft])

        assert isinstance(entry, Entry)
        assert json.loads(entry.body)["weight"] == 0.3
        assert json.loads(entry.body)["globalSaleChannelData"]["attributes"] == [{"name": "n", "value": "v"}]

    def test_attributes_have_columns_of_their_own_after_those_in_one_cell(self) -> None:
        table = (
            "attribute:Material,skuId,productId,globalSaleChannelData.attributes\n"
            'Cotton,1,P,"[{""name"": ""n"", ""value"": ""v""}]"\nWool,2,P,\n,3,P,\n'
        )

        bodies = [json.loads(each.body) for each in read(table.encode()) if isinstance(each, Entry)]

        material = {"name": "Material", "value": "Cotton"}
        assert bodies[0]["globalSaleChannelData"] == {"attributes": [{"name": "n", "value": "v"}, material]}
        assert bodies[1]["globalSaleChannelData"] == {"attributes": [material | {"value": "Wool"}]}
        assert "globalSaleChannelData" not in bodies[2]

    def test_stock_lies_in_the_first_warehouse_unless_told_otherwise(self) -> None:
        table = b"quantity;skuId;warehouseId;inventoryType\n3;A;;\n0;A;2;DAMAGED\n"

        found = [(each.key, each.body) for each in read(table, STOCK) if isinstance(each, Entry)]

        assert found == [
            ("A/1/AVAILABLE", b'{"inventoryType":"AVAILABLE","quantity":3,"skuId":"A","warehouseId":1}'),
            ("A/2/DAMAGED", b'{"inventoryType":"DAMAGED","quantity":0,"skuId":"A","warehouseId":2}'),
        ]

    def test_empty_sources_hold_nothing(self) -> None:
        assert read(b"") == read(b"\n \n") == read([]) == read(b"skuId,productId\n") == []


class TestFaults:
    def test_each_faulty_line_is_told_by_its_number_and_never_repeated(self) -> None:
        lines = (
            b'{"skuId":"1","productId":"P"}\n\nsecret-1\n[1]\n{"skuId":"secret-2"}\n{"skuId":3,"productId":"P"}\n\xff\n'
        )

        found = read(lines)

        assert [(each.line, each.key) for each in found if isinstance(each, Fault)] == [
            (3, None), (4, None), (5, None), (6, "P"), (7, None)
        ]  # fmt: skip
        assert "secret" not in repr(found)
        assert faults(b'{"skuId":"1"}') == [(1, None, "productId", "is missing")]
        assert faults(b'{"a":}') == [(1, None, "", "not JSON at character 6")]

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ('"main":true,"main":true', "a member is named twice in an object"),
            ('"weight":0.1234567890123456789', "must be made of what JSON has, its numbers of at most 15 digits"),
            ('"weight":NaN', "NaN or an infinity"),
            (r'"name":"\ud800"', "an unpaired surrogate in a string"),
        ],
    )
    def test_json_is_read_strictly(self, content: str, fault: str) -> None:
        ((_, _, path, message),) = faults(f'{{"skuId":"1","productId":"P",{content}}}'.encode())

        assert (path, message) == ("", fault)

    def test_a_cut_line_at_the_end_belongs_to_nobody(self) -> None:
        assert faults(b'{"skuId":"1","productId":"P","name":"Mu') == [(1, None, "", "not JSON at character 37")]

    def test_all_faults_of_a_row_are_told_each_with_its_column(self) -> None:
        header = b"skuId,productId,main,weight,globalSaleChannelData.attributes,name\n"

        found = faults(header + b'1,P,secret,9,secret,n\n2,P,maybe,"9,99",{},\xff\n')

        assert found == [
            (2, "P", "main", "must be true or false"),
            (2, "P", "globalSaleChannelData.attributes", "not JSON at character 15"),
            (3, "P", "main", "must be true or false"),
            (3, "P", "weight", "must be a number with a point, as 9.99"),
            (3, "P", "globalSaleChannelData.attributes", "must be a list in JSON"),
            (3, "P", "name", "must be UTF-8"),
        ]

    @pytest.mark.parametrize("number", ["007", "1 000", "0x1", "1,5", "--1", "1.", "inf", "٣"])
    def test_numbers_of_other_countries_and_programs_are_refused(self, number: str) -> None:
        ((line, key, path, _),) = faults(f'skuId;productId;weight\n1;P;"{number}"\n'.encode())

        assert (line, key, path) == (2, "P", "weight")

    def test_rows_are_numbered_by_the_line_on_which_they_begin(self) -> None:
        table = b'skuId,productId,description\n1,P,"two\nlines"\n\n,,\n2,P\n3,P,"x"y\n4,P,ok\n5,P,"open\n'

        found = read(table)

        assert [(each.line, each.message if isinstance(each, Fault) else each.id) for each in found] == [
            (2, "1"),
            (6, "has 2 cells, the header has 3"),
            (7, "is no CSV: a quote is not closed, or stands inside a cell, or a cell is too long"),
            (8, "4"),
            (9, "is no CSV: a quote is not closed, or stands inside a cell, or a cell is too long"),
        ]

    def test_lines_longer_than_anything_are_left_out_without_being_held(self) -> None:
        long = b"x" * (LONGEST_LINE * 2 + 5)
        good = b'{"skuId":"1","productId":"P"}'

        assert [each.line for each in read(good + b"\n" + long + b"\n" + good)] == [1, 2, 3]
        assert faults(long) == [(1, None, "", f"is longer than {LONGEST_LINE} bytes")]
        assert faults(b"skuId,productId\n" + long + b"\n") == [(2, None, "", f"is longer than {LONGEST_LINE} bytes")]

    def test_stock_without_a_number_of_pieces_or_in_no_warehouse_is_faulty(self) -> None:
        assert faults(b'{"skuId":"A"}', STOCK) == [(1, "A/1/AVAILABLE", "quantity", "is missing")]
        assert faults(b'{"skuId":"A","quantity":1,"warehouseId":"1"}', STOCK) == [
            (1, None, "warehouseId", "must be a whole number")
        ]
        assert faults(b'{"skuId":"A","quantity":1,"inventoryType":1}', STOCK) == [
            (1, None, "inventoryType", "must be a text")
        ]
        assert faults(b'{"quantity":1}', STOCK) == [(1, None, "skuId", "is missing")]

    def test_objects_that_have_no_json_are_told_by_their_place(self) -> None:
        draft = SkuDraft("1", "P", "n", weight_kg=Decimal("NaN"))

        found = read([{"skuId": "1", "productId": "P", "name": object()}, 5, draft, {"weight": Decimal("NaN")}])

        assert [(each.line, each.path) for each in found if isinstance(each, Fault)] == [
            (1, ""), (2, ""), (3, ""), (4, "")
        ]  # fmt: skip


class TestUnreadable:
    @pytest.mark.parametrize("header", [b"a,b,c\n1,2,3\n", b'"open\n', b"skuId productId\n", b"hello\n"])
    def test_a_header_that_names_too_little_ends_it(self, header: bytes) -> None:
        with pytest.raises(ConfigurationError, match="names skuId and productId"):
            read(header)

    def test_a_misspelled_column_ends_it_without_being_repeated(self) -> None:
        with pytest.raises(ConfigurationError, match="Column 3 of the header is no field") as caught:
            read(b"skuId,productId,nmae-secret\n")

        assert "secret" not in str(caught.value)

    def test_a_column_that_is_there_twice_ends_it(self) -> None:
        with pytest.raises(ConfigurationError, match="Column 3 of the header has the name of one before it"):
            read(b"skuId,productId,skuId\n")

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
    def test_utf_16_is_told(self, encoding: str) -> None:
        with pytest.raises(ConfigurationError, match="Store it as UTF-8"):
            read("\ufeffskuId,productId\n".encode(encoding))

    @pytest.mark.parametrize("source", [5, None, b"x", {"skuId": "1"}])
    def test_what_is_no_source_is_told(self, source: Any) -> None:
        with pytest.raises(ConfigurationError, match="source must be"):
            list(read_entries(source, CATALOG))

    def test_what_is_no_path_is_told(self) -> None:
        with pytest.raises(ConfigurationError, match="NUL"):
            read("nul\0")

    @pytest.mark.parametrize("name", ["missing.jsonl", ""])
    def test_a_file_that_cannot_be_read_is_told(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read(str(tmp_path / name))
