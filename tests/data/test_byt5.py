"""Text as bytes is the public byte tokenizer, but for its three special ids, which it puts first."""

import pytest

from panformer.data.prepare import END, Text

SHIFT = 3  # pad, end, unknown


@pytest.mark.parametrize(
    "text", ["", "plain words", "naïve Füße", "日本語 и ещё", "🙂\n\ttab\x00", "e\u0301 combining"]
)
def test_ids_equal_those_of_transformers(text):
    from transformers import ByT5Tokenizer

    peer, ours = ByT5Tokenizer(), Text().encode(text).tolist()
    theirs = peer(text).input_ids
    assert [peer.eos_token_id if i == END else i + SHIFT for i in ours] == theirs
    assert Text().text(ours) == text.rstrip("\n") == peer.decode(theirs, skip_special_tokens=True)
