"""Resources in the text of posts."""

import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tg2em_core.models import TITLE_LENGTH, Category
from tg2em_scraper.fields import category_of, cut_title, parse
from tg2em_scraper.messages import RichText

FULL = """名称：三体 全集

描述：第一行。
第二行：不是标签。

链接：https://pan.quark.cn/s/abc123

📁 大小：38.5GB
🏷 标签：#科幻 #剧集 #科幻
👥 群组：@somewhere
"""


def test_all_fields_of_the_usual_form() -> None:
    found = parse(RichText(FULL))
    assert found is not None
    assert found.title == found.name == "三体 全集"
    assert found.description == "第一行。\n第二行：不是标签。"
    assert found.link == "https://pan.quark.cn/s/abc123"
    assert found.size == "38.5GB"
    assert found.tags == ("科幻", "剧集")
    assert found.category is Category.QUARK


def test_values_in_the_line_below_and_ascii_colons() -> None:
    found = parse(RichText("名称:\nA film\n描述: fine\n链接:\nhttps://pan.baidu.com/s/1?pwd=x1y2"))
    assert found is not None
    assert (found.title, found.description) == ("A film", "fine")
    assert found.link == "https://pan.baidu.com/s/1?pwd=x1y2"


def test_a_hyperlink_counts_more_than_its_text() -> None:
    body = RichText.from_segments(
        [("名称：书\n链接：", None), ("点击", "https://www.alipan.com/s/x"), ("\n大小：1MB", None)]
    )
    found = parse(body)
    assert found is not None
    assert found.link == "https://www.alipan.com/s/x"
    assert found.category is Category.ALIYUN
    assert found.size == "1MB"


def test_a_chinese_comma_ends_a_link() -> None:
    found = parse(RichText("名称：书\n链接：https://pan.quark.cn/s/a1，提取码：x"))
    assert found is not None
    assert found.link == "https://pan.quark.cn/s/a1"


def test_without_labels_the_first_line_is_the_title_and_a_drive_the_link() -> None:
    text = "🎬 Some Film (2024)\nhttps://example.com/page\nhttps://pan.quark.cn/s/z #film"
    found = parse(RichText(text))
    assert found is not None
    assert found.title == "🎬 Some Film (2024)"
    assert found.link == "https://pan.quark.cn/s/z"
    assert found.tags == ("film",)


def test_a_channel_link_is_no_resource() -> None:
    found = parse(RichText("Good morning\nhttps://t.me/somewhere"))
    assert found is not None
    assert found.link == ""
    assert found.category is Category.OTHER


@pytest.mark.parametrize("text", ["", "  \n ", "👍🎉", "链接："])
def test_no_words_no_resource(text: str) -> None:
    assert parse(RichText(text)) is None


def test_blocked_tags_are_dropped_whatever_their_case() -> None:
    found = parse(RichText("名称：x\n标签：#Ads #film #广告"), ["ads", "#广告"])
    assert found is not None
    assert found.tags == ("film",)


def test_tags_without_hash() -> None:
    found = parse(RichText("名称：x\n标签：电影、科幻, 2024"))
    assert found is not None
    assert found.tags == ("电影", "科幻", "2024")


def test_values_fit_their_columns() -> None:
    text = f"名称：{'长' * 900}\n大小：{'9' * 300}\n标签：#{'t' * 300}\n"
    text += f"链接：https://a.cn/{'x' * 3000}"
    found = parse(RichText(text))
    assert found is not None
    assert (len(found.title), len(found.name), len(found.size)) == (24, 500, 64)
    assert len(found.tags[0]) == 64
    assert found.link == "", "half a link leads nowhere"


@pytest.mark.parametrize(
    ("link", "category"),
    [
        ("https://pan.quark.cn/s/1", Category.QUARK),
        ("https://quark.cn/s/1", Category.QUARK),
        ("https://PAN.QUARK.CN./s/1", Category.QUARK),
        ("https://www.aliyundrive.com/s/1", Category.ALIYUN),
        ("https://alipan.com/s/1", Category.ALIYUN),
        ("http://pan.baidu.com:80/s/1", Category.BAIDU),
        ("https://caiyun.139.com/m/i?1", Category.MOBILE),
        ("https://notquark.cn/s/1", Category.OTHER),
        ("https://quark.cn.evil.example/s/1", Category.OTHER),
        ("https://evil.example/?u=quark.cn", Category.OTHER),
        ("https://user@quark.cn@evil.example/", Category.OTHER),
        ("https://[broken", Category.OTHER),
        ("", Category.OTHER),
    ],
)
def test_category_by_domain(link: str, category: Category) -> None:
    assert category_of(link) is category


def test_a_title_is_never_cut_inside_a_character() -> None:
    family = "👨‍👩‍👧‍👦"
    assert cut_title("x" * 20 + family) == "x" * 20
    assert cut_title("x" * 17 + family + "yz") == "x" * 17 + family
    assert cut_title("y" * 23 + "e\u0301") == "y" * 23
    assert cut_title("中" * 30) == "中" * 24
    assert cut_title("🇨🇳" * 20) == "🇨🇳" * 12
    assert len(cut_title("a" + "\u0301" * 99)) == TITLE_LENGTH


CLUSTERS = st.one_of(st.characters(), st.sampled_from("e\u0301👨‍👩🏽🇨🇳‍ \n"))


@settings(deadline=None)
@given(st.text(alphabet=CLUSTERS, max_size=80))
def test_a_cut_title_fits_and_begins_the_text(text: str) -> None:
    words = " ".join(text.split())
    title = cut_title(text)
    assert len(title) <= TITLE_LENGTH
    assert words.startswith(title)
    rest = words[len(title) :].lstrip()
    if title and rest and len(regex.findall(r"\X", words)[0]) <= TITLE_LENGTH:
        joined = regex.findall(r"\X", words)
        assert title in {"".join(joined[:n]).rstrip() for n in range(len(joined) + 1)}


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = parse(RichText(text))
    if found is not None:
        assert found.title
        assert not any(unicodedata.category(c) == "Cc" for c in found.title if c in "\r\n")
