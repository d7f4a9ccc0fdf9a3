import pytest
import torch

from stride.datamodules.text import Text, read, windows

LETTERS = "".join(chr(97 + k % 26) for k in range(1000))


def text(path, **options):
    data = Text(**{"path": str(path), "context": 9, "batch_size": 4, "seed": 0, **options})
    data.setup("fit")
    return data


@pytest.fixture
def letters(tmp_path):
    path = tmp_path / "letters.txt"
    path.write_text(LETTERS)
    return path


@pytest.mark.parametrize(
    "tokens, context, x",
    [
        (9, 4, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (8, 4, [[0, 1, 2, 3]]),
        (5, 4, [[0, 1, 2, 3]]),
        (4, 1, [[0], [1], [2]]),
    ],
)
def test_windows_are_a_table_and_y_is_x_shifted_on_by_one(tokens, context, x):
    found, shifted = windows(torch.arange(tokens), context)
    assert found.tolist() == x
    assert shifted.equal(found + 1)


def test_the_parts_are_the_text_in_order_and_no_window_crosses_from_one_to_the_next(letters):
    data = text(letters)
    for (x, y), start, end in ((data.train, 0, 800), (data.val, 800, 900), (data.test, 900, 1000)):
        used = len(x) * 9
        assert Text.decode(x.flatten()) == LETTERS[start : start + used]
        assert Text.decode(y.flatten()) == LETTERS[start + 1 : start + 1 + used]
        assert start + used + 1 <= end < start + used + 1 + 9


def test_a_training_epoch_serves_each_window_once_with_its_own_continuation(letters):
    data = text(letters)
    batches = list(data.train_dataloader())
    assert all(y[:, :-1].equal(x[:, 1:]) for x, y in batches)
    assert batches[0][0].shape == (4, 9) and batches[0][0].dtype == torch.int64
    served = sorted(torch.cat([x for x, _ in batches]).tolist())
    assert served == sorted(data.train[0].tolist())


def test_any_text_survives_encoding_and_a_cut_character_does_not_crash():
    assert Text.decode(Text.encode("naïve 日本 🎈\n")) == "naïve 日本 🎈\n"
    assert Text.decode(Text.encode("é")[:1]) == "\ufffd"
    assert Text.encode("é").max() < 256


def test_a_folder_is_its_matching_files_in_sorted_order_up_to_the_cap(tmp_path):
    (tmp_path / "deep").mkdir()
    for name, content in {"b.txt": "BBB", "a.txt": "AAA", "c.md": "CCC", "deep/d.txt": "DDD"}.items():
        (tmp_path / name).write_text(content)
    assert read(tmp_path, pattern="*.txt", max_bytes=99) == b"AAABBB"
    assert read(tmp_path, pattern="**/*.txt", max_bytes=99) == b"AAABBBDDD"
    assert read(tmp_path, pattern="*.txt", max_bytes=4) == b"AAAB"


def test_without_a_path_it_reads_the_standard_library():
    data = Text(context=64, batch_size=32, seed=0, max_bytes=300_000)
    data.setup("fit")
    assert "import " in Text.decode(data.train[0].flatten())
    assert data.spec == {"vocabulary": 256, "context": 64}


@pytest.mark.parametrize(
    "options, law",
    [
        ({"path": "nowhere"}, "`path` must be a text file or a folder, but there is no path=nowhere"),
        ({"pattern": "*.rs"}, "`pattern` must match a file in .*, but got pattern=\\*.rs"),
        ({"context": 0}, "`context >= 1` must hold, but got context=0"),
        ({"val_fraction": 1}, "`val_fraction \\+ test_fraction < 1` must hold"),
        (
            {"context": 100},
            r"each part must hold at least `context \+ 1` bytes, but the text in .* with context=100 "
            "gives train=800, val=100, test=100",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_law(letters, options, law):
    with pytest.raises(ValueError, match=law):
        text(**{"path": letters.parent, "pattern": "*.txt", **options})
