"""The files of the page: hashed names, references between them, and scripts that are sent as one."""

from pathlib import Path

import pytest

from peekaping_producer.ui.script import one_script
from peekaping_producer.ui.static_files import StaticFiles


def files_in(folder: Path, **contents: str) -> StaticFiles:
    for name, text in contents.items():
        (folder / name.replace("_", ".")).write_text(text)
    return StaticFiles(folder)


def test_names_contain_a_hash_of_the_content_and_of_what_it_refers_to(tmp_path: Path) -> None:
    page = '<script src="/static/app.js"></script><link href="/static/app.css">'
    files = files_in(tmp_path, index_html=page, app_js="let a = 1;", app_css="a {}", x_txt="not served")
    named = {file.name.split(".", 1)[0] + file.name[file.name.rindex(".") :]: file for file in files.files}
    assert set(named) == {"index.html", "app.js", "app.css"}
    for name in ("app.js", "app.css"):
        assert f'"/static/{named[name].name}"' in named["index.html"].body.decode()
    (tmp_path / "app.js").write_text("let a = 2;")
    changed = {file.content_type: file.name for file in StaticFiles(tmp_path).files}
    kept = {file.content_type for file in files.files if changed[file.content_type] == file.name}
    assert kept == {"text/css; charset=utf-8"}


def test_modules_are_sent_as_one_script_in_the_order_of_their_imports(tmp_path: Path) -> None:
    app = '// The app.\n\nimport { b } from "./b.js";\nimport {\n  c,\n} from "./c.js";\n\nb(`/* x */`, "// y");\n'
    b = 'import { c } from "./c.js";\n/** What b is. */\nexport async function b() {\n  // inner\n  c.export = 1;\n}\n'
    files_in(tmp_path, app_js=app, b_js=b, c_js="export const c = {};\n")
    assert one_script(tmp_path / "app.js") == (
        'const c = {};\nasync function b() {\nc.export = 1;\n}\nb(`/* x */`, "// y");\n'
    )


def test_a_reference_to_no_file_or_in_a_circle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"app\.js: expected a module of .*, got 'b\.js'"):
        files_in(tmp_path, app_js='import { b } from "./b.js";\n')
    with pytest.raises(ValueError, match=r"no cycle of imports, got app\.js → b\.js → app\.js"):
        files_in(tmp_path, b_js='import { a } from "./app.js";\n')
    with pytest.raises(ValueError, match=r"app\.js: expected imports and exports by name, got 'import \"\./b\.js\";'"):
        files_in(tmp_path, app_js='import "./b.js";')
    (tmp_path / "app.js").unlink()
    with pytest.raises(ValueError, match=r"index\.html: expected a file of .*, got 'none\.css'"):
        files_in(tmp_path, index_html='<link href="/static/none.css">')
