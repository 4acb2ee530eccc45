"""The files of the page: hashed names, references between them, and their size."""

from pathlib import Path

import pytest

from peekaping_producer.ui.static_files import StaticFiles


def files_in(folder: Path, **contents: str) -> StaticFiles:
    for name, text in contents.items():
        (folder / name.replace("_", ".")).write_text(text)
    return StaticFiles(folder)


def test_names_contain_a_hash_of_the_content_and_of_what_it_refers_to(tmp_path: Path) -> None:
    page = '<script src="/static/app.js"></script><a href="/static/none.txt">'
    files = files_in(tmp_path, index_html=page, app_js='import "./b.js";', b_js="let b = 1;", x_txt="not served")
    named = {file.name.split(".")[0]: file for file in files.files}
    assert set(named) == {"index", "app", "b"}
    assert named["app"].body.decode() == f'import "/static/{named["b"].name}";'
    assert f'src="/static/{named["app"].name}"' in named["index"].body.decode()
    (tmp_path / "b.js").write_text("let b = 2;")
    changed = {file.name.split(".")[0]: file for file in StaticFiles(tmp_path).files}
    assert changed["b"].name != named["b"].name
    assert changed["app"].name != named["app"].name


def test_scripts_are_sent_without_comments_and_with_the_numbers_of_their_lines(tmp_path: Path) -> None:
    script = '// one\nlet a = "//x"; // two\n/** three */\n  // four\nlet b = `/* c */`;\n'
    files = files_in(tmp_path, index_html="// kept\n", app_js=script)
    sent = {file.name.split(".")[0]: file.body.decode() for file in files.files}
    assert sent == {"index": "// kept\n", "app": '\nlet a = "//x"; // two\n\n\nlet b = `/* c */`;\n'}


def test_a_reference_to_no_file_or_in_a_circle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"app\.js: expected a file of .*, got 'b\.js'"):
        files_in(tmp_path, app_js='import "./b.js";')
    with pytest.raises(ValueError, match="no cycle of imports"):
        files_in(tmp_path, b_js='import "./app.js";')
