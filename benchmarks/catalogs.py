# ruff: noqa: RUF001 - letters of many scripts look like Latin ones, as they do in catalogs
"""Catalogs made up to be pushed: realistic products with text in nine scripts, the same ones for the same seed.

Each product is made from the seed and its number alone, so a catalog of any size is written without being held.
`python -m benchmarks.catalogs --skus 10000 > catalog.jsonl` writes one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Language:
    """Words of one script: things, what they are like, and what is said of them."""

    things: tuple[str, ...]
    qualities: tuple[str, ...]
    sentences: tuple[str, ...]


LANGUAGES: Final = (
    Language(
        ("Camiseta", "Crème hydratante", "Kopfhörer", "Tênis de corrida", "Śpiwór", "Çanta", "Lámpara de mesa"),
        ("orgânica", "été", "für Größen ab 40", "édition limitée", "łatwy w użyciu", "impermeável"),
        (
            "Feita de algodão, lavável à máquina até 30 °C.",
            "Ein Begleiter für jeden Tag: leicht, robust und schön.",
            "Livré avec sa housse – garantie 2 ans.",
            "¿Por qué esperar? Envío desde España.",
        ),
    ),
    Language(
        ("Рюкзак", "Чайник", "Кроссовки", "Настольная лампа", "Термос"),
        ("лёгкий", "водонепроницаемый", "детский", "из нержавеющей стали"),
        ("Подходит для ежедневного использования.", "Объём — 1,5 литра.", "Гарантия производителя: 24 месяца."),
    ),
    Language(
        ("Παπούτσια", "Ελαιόλαδο", "Τσάντα", "Φωτιστικό"),
        ("ελαφρύ", "χειροποίητο", "αδιάβροχο"),
        ("Κατασκευασμένο στην Ελλάδα.", "Ιδανικό για ταξίδια και καθημερινή χρήση."),
    ),
    Language(
        ("حقيبة ظهر", "سماعات", "ساعة يد", "عطر"),
        ("خفيفة", "مقاومة للماء", "يدوية الصنع"),
        ("مناسبة للاستخدام اليومي.", "ضمان لمدة ٢٤ شهرًا."),
    ),
    Language(
        ("תיק גב", "אוזניות", "מנורת שולחן"),
        ("קל משקל", "עמיד במים"),
        ("מתאים לשימוש יומיומי.", "אחריות לשנתיים."),
    ),
    Language(
        ("बैग", "चाय", "कुर्ता", "जूते"),
        ("हल्का", "जलरोधक", "हस्तनिर्मित"),
        ("रोज़ाना इस्तेमाल के लिए उपयुक्त।", "दो साल की वारंटी।"),
    ),
    Language(
        ("กระเป๋าเป้", "หูฟัง", "รองเท้าวิ่ง", "น้ำหอม"),
        ("น้ำหนักเบา", "กันน้ำ"),
        ("เหมาะสำหรับใช้ทุกวัน", "รับประกันสองปี"),
    ),
    Language(
        ("背包", "耳机", "保温杯", "テーブルランプ", "運動靴", "무선 이어폰"),
        ("轻便", "防水", "手作り", "가벼운"),
        ("适合日常使用，保修两年。", "軽くて丈夫です。", "매일 사용하기에 좋습니다."),
    ),
    Language(
        ("Mug ☕", "T-shirt 👕", "Headphones 🎧", "Bag 🎒", "Family set 👨‍👩‍👧‍👦"),
        ("light 🪶", "waterproof 💧", "eco ♻️"),
        ("Everyone loves it 💯!", "Ships today 🚚.", "Made with care 🧵 & tested twice ✅."),
    ),
)
SIZES: Final = ("XS", "S", "M", "L", "XL", "XXL")
COLORS: Final = ("black", "white", "azul-marinho", "красный", "πράσινο", "أزرق", "pink 💗", "灰")
BRANDS: Final = ("ChargerW", "Norte & Sul", "Økotex", "Горизонт", "Ήλιος", "雲")
CATEGORIES: Final = (
    "Telefones e Celulares/Acessórios/Carregadores",
    "Moda/Roupas/Camisetas",
    "Casa/Iluminação/Luminárias",
    "Esporte/Corrida/Tênis",
    "Beleza/Perfumes",
)
HS_CODES: Final = ("850440", "610910", "940521", "640411", "33030010")
ATTRIBUTES: Final = ("Material", "Origin", "Ἐγγύηση", "保证", "Connection Type")


def products(skus: int, *, seed: int = 1) -> Iterator[list[dict[str, Any]]]:
    """A catalog of so many SKUs, product by product; its last product is cut where it would have more."""
    left, number = skus, 0
    while left > 0:
        product = make_product(number, seed=seed)[:left]
        yield product
        left -= len(product)
        number += 1


def make_product(number: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """All SKUs of one product, as the API takes them: 1 to 24, 8 in the middle."""
    random = Random(f"{seed}/{number}")  # noqa: S311 - made-up goods
    language = random.choice(LANGUAGES)
    product_id = f"P{seed}-{number:06d}"
    name = f"{random.choice(language.things)} {random.choice(language.qualities)} {number % 997}"
    description = "\n".join(random.choices(language.sentences, k=random.randint(2, 8)))
    brand, category, hs_code = random.choice(BRANDS), random.choice(CATEGORIES), random.choice(HS_CODES)
    variants = [
        (color, size)
        for color in random.sample(COLORS, random.randint(1, 4))
        for size in random.sample(SIZES, random.choice((1, 2, 3, 4, 6)))
    ]
    price = random.randint(300, 90_000)
    return [
        {
            "skuId": f"{product_id}-{place:02d}",
            "productId": product_id,
            "main": place == 0,
            "name": f"{name} {color} {size}",
            "description": description,
            "weight": random.randint(20, 9000) / 1000,
            "height": random.randint(1, 400) / 10,
            "width": random.randint(1, 40),
            "length": random.randint(1, 60),
            "ean": ean_13(20_00000_00000 + number * 100 + place),
            "hscode": hs_code,
            "localizedListPriceWithTaxes": (price + place * 50) / 100,
            "localizedSalePriceWithTaxes": (price + place * 50) * 4 // 5 / 100,
            "globalSaleChannelData": {
                "active": True,
                "brand": brand,
                "size": size,
                "color": color,
                "category": category,
                "attributes": [
                    {"name": attribute, "value": random.choice(language.qualities)}
                    for attribute in ATTRIBUTES[: random.randint(1, len(ATTRIBUTES))]
                ],
            },
            "images": [
                f"https://img.example.com/{product_id}/{place}-{picture}.jpeg"
                for picture in range(random.randint(1, 4))
            ],
        }
        for place, (color, size) in enumerate(variants)
    ]


def ean_13(number: int) -> str:
    """The number with its check digit."""
    digits = f"{number:012d}"
    odd, even = (sum(map(int, digits[start::2])) for start in (0, 1))
    return f"{digits}{-(odd + 3 * even) % 10}"


def json_line(sku: dict[str, Any]) -> str:
    """The SKU as a line of JSON Lines."""
    return json.dumps(sku, ensure_ascii=False, separators=(",", ":")) + "\n"


def main() -> None:
    """Write a catalog to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalogs", description=__doc__)
    parser.add_argument("--skus", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for product in products(arguments.skus, seed=arguments.seed):
        sys.stdout.writelines(map(json_line, product))


if __name__ == "__main__":
    main()
