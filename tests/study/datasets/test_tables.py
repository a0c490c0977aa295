import os

import numpy as np
import pandas as pd
import pytest

from torchdropout.study import datasets
from torchdropout.study.errors import StudyError

MIXED = """height,colour,weight,kind
1.5,red,10,yes
NA,blue,20,no
2.5,,30,yes
"""


def test_numbers_and_categories(write):
    loaded = datasets.load(str(write("mixed.csv", MIXED)), target="kind")
    assert loaded.description == "2 numbers and 1 category"
    np.testing.assert_array_equal(loaded.inputs["height"], [1.5, np.nan, 2.5])
    assert loaded.inputs["colour"].tolist() == ["red", "blue", None]
    assert loaded.inputs["weight"].tolist() == [10, 20, 30]
    assert (loaded.task, loaded.classes, loaded.targets.tolist()) == ("classification", ("no", "yes"), [1, 0, 1])


SAME = {
    "semicolons": "a;b;y\n1;u v;2.5\n2;w;3\n",
    "tabs": "a\tb\ty\n1\tu v\t2.5\n2\tw\t3\n",
    "commas": "a,b,y\n1,u v,2.5\n2,w,3\n",
    "quotes": '"a","b","y"\n1,"u v",2.5\n2,"w",3\n',
    "spaces after commas": "a, b, y\n1, u v, 2.5\n2, w, 3\n",
    "windows": "a,b,y\r\n1,u v,2.5\r\n2,w,3\r\n",
    "old mac": "a,b,y\r1,u v,2.5\r2,w,3\r",
    "byte order mark": "\ufeffa,b,y\n1,u v,2.5\n2,w,3\n",
    "blank lines": "\na,b,y\n\n1,u v,2.5\n , , \n2,w,3\n\n",
    "no end of line": "a,b,y\n1,u v,2.5\n2,w,3",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_ways_of_writing_one_table(write, text):
    loaded = datasets.load(str(write("t.csv", text)), target="y")
    assert loaded.inputs.to_dict("list") == {"a": [1, 2], "b": ["u v", "w"]}
    assert loaded.targets.tolist() == [2.5, 3]


def test_quoted_separators_and_line_ends_belong_to_the_field(write):
    loaded = datasets.load(str(write("t.csv", '"a, b",y\n"u;\nv",1\n"w",2\n')), target="y")
    assert loaded.inputs.to_dict("list") == {"a, b": ["u;\nv", "w"]}


@pytest.mark.parametrize("word", ["", "NA", "n/a", "NaN", "null", "None", "?"])
def test_what_is_missing(write, word):
    loaded = datasets.load(str(write("t.csv", f"a,b,y\n1,u,1\n{word},{word},2\n")), target="y")
    assert loaded.inputs["a"].isna().tolist() == loaded.inputs["b"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("target", "values"), [("-1", [5, 6]), (-1, [5, 6]), ("1", [1, 2]), (2, [3, 4]), ("column2", [3, 4])]
)
def test_without_names_columns_are_numbered_from_one(write, target, values):
    loaded = datasets.load(str(write("t.txt", "1 3 5\n2 4 6 \n")), target=target, task="regression")
    assert loaded.targets.tolist() == values
    assert loaded.description == "2 numbers"


def test_a_name_wins_over_a_position(write):
    path = write("t.parquet", b"")
    pd.DataFrame({"a": [1, 2], "1": [3.5, 4.5]}).to_parquet(path)
    assert datasets.load(str(path), target="1").targets.tolist() == [3.5, 4.5]


GUESSES = {
    "text": (["u", "v", "u"], "classification", ("u", "v")),
    "booleans": (["True", "False", "True"], "classification", ("False", "True")),
    "few whole numbers": (["10", "9", "10"], "classification", ("9", "10")),
    "negative": (["-1", "1", "1"], "classification", ("-1", "1")),
    "twenty": (list(map(str, range(20))), "classification", tuple(map(str, range(20)))),
    "twenty-one": (list(map(str, range(21))), "regression", ()),
    "one is not whole": (["1", "2", "2.5"], "regression", ()),
}


@pytest.mark.parametrize(("values", "task", "classes"), GUESSES.values(), ids=GUESSES.keys())
def test_task_is_guessed_from_the_target(write, values, task, classes):
    text = "x,y\n" + "".join(f"{row},{value}\n" for row, value in enumerate(values))
    loaded = datasets.load(str(write("t.csv", text)), target="y")
    assert (loaded.task, loaded.classes) == (task, classes)
    if classes:
        assert [classes[number] for number in loaded.targets] == values


def test_task_is_overridden(write):
    path = str(write("t.csv", "x,y\n1,1\n2,2.5\n3,1\n"))
    assert datasets.load(path, target="y", task="classification").classes == ("1", "2.5")
    with pytest.raises(StudyError, match="target 'y': the target of a regression must hold numbers, found 'u'"):
        datasets.load(str(write("s.csv", "x,y\n1,u\n2,v\n")), target="y", task="regression")


BROKEN = {
    "empty": ("", "must be a table in the file, found it empty"),
    "blank": (" \n\n", "must be a table in the file, found it empty"),
    "names only": ("x,y\n", "must be rows below the names of the columns, found none"),
    "one row": ("x,y\n1,2\n", "at least 2 examples, found 1"),
    "target alone": ("y\n1\n2\n", "at least one column besides the target"),
    "constant target": ("x,y\n1,5\n2,5\n", "target must take at least 2 values, found '5' alone"),
    "constant regression": ("x,y\n1,5.5\n2,5.5\n", r"target must take at least 2 values, found 5\.5 alone"),
    "missing targets": ("x,y\n1,5\n2,\n3,NaN\n", "must have a target, 2 of 3 are missing, the first in row 2"),
    "infinite target": ("x,y\n1,5.5\n2,-inf\n", "targets must be finite .*, found -inf in row 2"),
    "infinite feature": ("x,y\n1,5\n2,6\ninf,5\n", "inputs must be finite .*, found inf in column 'x', row 3"),
    "overflowing feature": ("x,y\n1,5\n1e999,6\n", "inputs must be finite .*, found inf in column 'x', row 2"),
    "not UTF-8": (b"x,y\n1,\xe9t\xe9\n", "text must be UTF-8, found byte 0xe9 at position 6"),
    "UTF-16": ("x,y\n1,2\n".encode("utf-16"), "text must be UTF-8, found byte 0xff at position 0"),
    "a name twice": ("x,x,y\n1,2,3\n4,5,6\n", "names of columns must differ, found 'x' 2 times"),
    "no name": (",x,y\n0,2,3\n1,5,6\n", "first line must name every column, column 1 has no name"),
    "only missing": ("x,z,y\n1,,3\n2,NA,4\n", "column 'z' must hold a value, found only missing ones; drop it"),
    "short row": ("x,z,y\n1,2,3\n4,5\n", "line 3 must have 3 fields like the first line, found 2"),
    "long row": ("x,y\n1,2\n\n4,5,6\n", "line 4 must have 2 fields like the first line, found 3"),
    "cut in a quote": ('x,y\n1,"a"\n2,"b', "line 3 must be fields between separators, found: unexpected end of data"),
    "a huge field": ("x,y\n1,2\n1," + "9" * 200_000, "field larger than field limit"),
    "numbers and a word": ("x,y\n" + "".join(f"{i or 'zero'},{i % 2}\n" for i in range(101)), "'zero' in row 1 is not"),
    "free text": ("x,y\n" + "".join(f"w{i},{i % 2}\n" for i in range(101)), "must have at most 100 different"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_file_is_one_sentence_with_its_name(write, content, rule):
    path = write("t.csv", content)
    with pytest.raises(StudyError, match=rule) as caught:
        datasets.load(str(path), target="y")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet"])
def test_missing_file(tmp_path, name):
    with pytest.raises(StudyError, match=rf"{name}: a file must be here, found none\."):
        datasets.load(str(tmp_path / name), target="y")


@pytest.mark.parametrize("name", ["folder.csv", "folder.parquet"])
def test_folder_in_place_of_a_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(StudyError, match=f"{name}: .*found: Is a directory"):
        datasets.load(str(tmp_path / name), target="y")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(write):
    path = write("t.csv", MIXED)
    path.chmod(0)
    with pytest.raises(StudyError, match=r"t\.csv: the file must be readable, found: Permission denied"):
        datasets.load(str(path), target="kind")


class TestTargetOption:
    def test_none_lists_the_columns(self, write):
        path = write("mixed.csv", MIXED)
        with pytest.raises(StudyError) as caught:
            datasets.load(str(path))
        assert str(caught.value) == (
            f"--target: it must name the column to predict, {path} has 'height', 'colour', 'weight', 'kind'."
        )

    @pytest.mark.parametrize("target", ["Kind", "5", "0", 0, "-5", ""])
    def test_absent_lists_the_columns(self, write, target):
        with pytest.raises(StudyError, match="has no column .*, it has 'height', 'colour', 'weight', 'kind'"):
            datasets.load(str(write("mixed.csv", MIXED)), target=target)

    def test_names_that_are_numbers_are_not_names(self, write):
        with pytest.raises(StudyError, match="'column2' .its first line holds a number, so it does not name them"):
            datasets.load(str(write("t.csv", "x,2020\n1,2\n")), target="2020")

    def test_many_columns_are_cut_short(self, write):
        text = ",".join(f"c{i}" for i in range(500)) + "\n"
        with pytest.raises(StudyError, match="'c19' and 480 more"):
            datasets.load(str(write("t.csv", text + text.replace("c", ""))), target="y")


class TestParquet:
    FRAME = pd.DataFrame(
        {
            "n": [1, 2, 3],
            "f": np.array([0.5, np.nan, 1.5], np.float32),
            "b": [True, False, True],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "c": pd.Categorical(["u", None, "v"]),
            "s": ["a", "b", None],
            "y": [1.5, 2.5, 3.5],
        }
    )

    def test_every_kind_of_column(self, tmp_path):
        self.FRAME.to_parquet(tmp_path / "t.parquet")
        loaded = datasets.load(str(tmp_path / "t.parquet"), target="y")
        assert loaded.description == "3 numbers and 3 categories"
        assert loaded.inputs["b"].tolist() == ["True", "False", "True"]
        assert loaded.inputs["c"].tolist() == ["u", None, "v"]
        assert loaded.inputs["s"].tolist() == ["a", "b", None]
        np.testing.assert_array_equal(loaded.inputs["nullable"], [1, np.nan, 3])
        np.testing.assert_array_equal(loaded.inputs["f"], [0.5, np.nan, 1.5])

    def test_it_is_the_same_data_as_in_csv(self, write, tmp_path):
        text = "a,b,y\n1.25,u,1\n,v,2\n3,,1\n"
        path = write("t.csv", text)
        pd.read_csv(path).to_parquet(tmp_path / "t.parquet")
        loaded = (datasets.load(str(tmp_path / name), target="y") for name in ("t.csv", "t.parquet"))
        assert len({data.fingerprint for data in loaded}) == 1

    @pytest.mark.parametrize("length", [0, 3, 100, -1, -10])
    def test_truncated(self, tmp_path, length):
        path = tmp_path / "t.parquet"
        self.FRAME.to_parquet(path)
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(StudyError, match=r"t\.parquet: it must be an intact Parquet file, found: ") as caught:
            datasets.load(str(path), target="y")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("values", "found"),
        [(pd.to_datetime(["2020", "2021"]), "datetime64"), ([[1, 2], [3]], "a ndarray"), ([b"a", b"b"], "a bytes")],
        ids=["dates", "lists", "bytes"],
    )
    def test_unusable_column(self, tmp_path, values, found):
        pd.DataFrame({"x": values, "y": [1, 2]}).to_parquet(tmp_path / "t.parquet")
        with pytest.raises(StudyError, match=f"column 'x' must hold numbers or text, found {found}"):
            datasets.load(str(tmp_path / "t.parquet"), target="y")

    def test_no_rows(self, tmp_path):
        self.FRAME[:0].to_parquet(tmp_path / "t.parquet")
        with pytest.raises(StudyError, match="must be rows in the table, found none"):
            datasets.load(str(tmp_path / "t.parquet"), target="y")


UCI = {
    "concrete": (1030, 8),
    "energy": (768, 8),
    "power-plant": (9568, 4),
    "wine-quality-red": (1599, 11),
    "yacht": (308, 6),
}


@pytest.mark.parametrize("name", UCI)
def test_uci_sets(name):
    folder = os.environ.get(datasets.VARIABLE)
    path = os.path.join(folder or "", "uci", f"{name}.txt")
    if not folder or not os.path.exists(path):
        pytest.skip(f"{datasets.VARIABLE} names no folder that holds uci/{name}.txt")
    loaded, plain = datasets.load(path, target="-1", task="regression"), np.loadtxt(path)
    assert loaded.inputs.shape == UCI[name]
    np.testing.assert_array_equal(np.column_stack([loaded.inputs, loaded.targets]), plain)
