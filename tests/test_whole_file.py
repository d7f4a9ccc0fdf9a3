"""A file that is replaced is whole for whoever reads it, however many write it."""

from concurrent.futures import ThreadPoolExecutor

from stride.whole_file import remove_leftovers, replaced


def test_many_may_replace_a_file_at_once_and_each_reader_sees_one_of_theirs(tmp_path):
    path = tmp_path / "sweep.json"
    texts = [f"{number}" * 5000 for number in range(4)]
    path.write_text(texts[0])

    def write(text):
        for _ in range(50):
            with replaced(path) as file:
                file.write(text)

    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, text) for text in texts]
        while not all(writer.done() for writer in writers):
            assert path.read_text() in texts
        for writer in writers:
            writer.result()
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_beside_a_file_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    kept = [tmp_path / "a.part", tmp_path / "run.json", tmp_path / "checkpoints" / "last.ckpt"]
    for path in (*kept, tmp_path / ".run.json.0a1b2c3d.part", tmp_path / "checkpoints" / ".last.ckpt.0a1b2c3d.part"):
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
