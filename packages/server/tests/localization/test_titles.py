"""Titles of ordinary catalogs that the shipped rules let pass, and of what may not be sold that they find."""

from __future__ import annotations

import pytest

from ecross_server.localization.rules import Content, Reason, find_forbidden, find_wrong_content
from ecross_server.localization.service import load_rule_books

(BOOK,) = load_rule_books()

HARMLESS = """
Hot glue gun 60 W with 20 sticks
Glue pistol, cordless
Massage gun with 6 heads
Percussion massage pistol
Water pistol for children, 2 pieces
Camera tripod with pistol grip
Garden hose pistol nozzle
Shotgun microphone for DSLR cameras
The Beatles: Revolver LP, 180 g vinyl
Revolver hole punch for leather
Shot glasses, set of 6
Ginger shot, 12 x 60 ml
Dynamite red lipstick
BTS Dynamite T-shirt
Fireworks lights, 200 LEDs, USB
Scarf with fireworks print
Gunpowder green tea, 100 g
Gunpowder grey running shoes
Firecracker sauce, 250 ml
Bullet journal, dotted, A5
Explosive power: strength training for runners
Black Opium eau de parfum, 50 ml
Boneca super-heroína articulada
A heroína do sertão (livro)
LSD limited slip differential for RC cars
Poppy seed roll cutter
Hemp seed protein powder, 500 g
Weed killer gloves, size L
Live animal trap, humane, foldable
Live-bait bucket with air pump
Vestido de noiva marfim, renda
Ivory silk blouse
Sunglasses, tortoise shell
Turtle shell backpack for toddlers
Counterfeit money detector with UV light
Detector de dinheiro falso portátil
Uranium green glass vase, reproduction
Bota de couro tabaco
Leather sofa, tobacco brown
Tobacco & vanilla scented candle
Cigarette trousers, wool, black
Charger for the cigarette lighter socket
Cigar cutter, stainless steel
Case for cigarettes, aluminium
Cinzeiro para charutos
Drugstore mascara, waterproof
Antibiotic-free collagen powder
Fumakilla Vape mosquito repellent refill
Laundry bag for used clothes
Used look denim jacket
Kugelschreiber mit Revolvermechanik
Zigarettenanzünder-Adapter mit 2 USB-Anschlüssen
Etui für Zigaretten aus Leder
Regenjacke für Damen, wasserdicht
ワイヤレスイヤホン ブルートゥース
綿100%Tシャツ メンズ 半袖
雨傘
儿童积木玩具 100块
Зарядное устройство
Creme facial com ácido hialurônico
""".strip().splitlines()

FORBIDDEN = """
Hunting ammunition, 9 mm
Semi-automatic pistol 9 mm
Revolver .38 Special
Pump-action shotgun, calibre 12
Arma de fogo calibre 38
Munição calibre 12
Schusswaffe Kaliber 22
Assault rifle, replica that fires
Fireworks rockets, 20 pieces
Fogos de artifício, caixa com 12
Firecrackers, 500 pieces
Black gunpowder, 1 kg
Dynamite sticks
Feuerwerkskörper, 24 Stück
Cannabis seeds, feminized
Marijuana brownies
Raw opium
LSD blotter
Live animals: hamster
Live bait, 50 worms
Peixe e outros animais vivos
Carved elephant ivory figure
Rhino horn powder
Genuine tortoise shell comb
Counterfeit money, 100 USD notes
Depleted uranium block
Rolling tobacco, 50 g
Cigarettes, carton of 10 packs
Charutos cubanos, caixa com 25
Vape pen with mango e-liquid
""".strip().splitlines()


def found(title: str) -> list[Reason]:
    sku = Content(title, "Made with care.", None, ["https://img.test/1.jpeg"], {"size": "M"})
    return [*find_forbidden(BOOK, sku), *find_wrong_content(BOOK.content, sku)]


@pytest.mark.parametrize("title", HARMLESS)
def test_a_title_of_an_ordinary_catalog_passes(title: str) -> None:
    assert found(title) == []


@pytest.mark.parametrize("title", FORBIDDEN)
def test_a_title_of_what_may_not_be_sold_does_not(title: str) -> None:
    assert {reason.field for reason in found(title)} == {"name"}
