# Cuts PTX texts into small seeds: awk -v folder=FOLDER -f seeds.awk FILE... A seed has the head of its text, the registers of its kernel, and
# up to 12 instructions of forms (an instruction without the numbers of its registers) that no seed has had. What it names that is not there,
# such as a label, makes it a wrong text, from which a fuzzer begins as well.
/^\.(version|target|address_size)/ { head = (/^\.version/ ? "" : head) $0 "\n"; next }
/^(\.visible )?\.entry/ { put(); registers = ""; next }
/^\t?\.reg/ { registers = registers $0 "\n"; next }
/;[ \t]*$/ && !/^\./ {
    form = $0
    gsub(/[0-9]+/, "0", form)
    if (form in seen)
        next
    seen[form] = 1
    body = body $0 "\n"
    if (++count == 12)
        put()
}
END { put() }
function put() {
    if (count) {
        name = sprintf("%s/form-%04d", folder, ++seeds)
        printf "%s.visible .entry k(.param .u64 p)\n{\n%s%sret;\n}\n", head, registers, body >name
        close(name)
    }
    body = ""
    count = 0
}
