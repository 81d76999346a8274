# The winners of each layer as a map: blue where they are faster than the fp16 baseline, orange where they are slower; with the time of
# quantising the activations, where it is known.
figure = counted ? 13 : 10
cost(t, q) = t + (counted && q == q ? q : 0)
lines = ""
do for [l in layers] { do for [s in schemes] { lines = lines." ".l."|".s } }
height = 190 + 52 * words(lines)
line_of(l, s) = words(lines) + 1 - order(lines, l."|".s)
log2(x) = log(x) / log(2)
shown(r) = log2(r) > 2 ? 2 : log2(r) < -2 ? -2 : log2(r)
known(c) = valid(c) ? column(c) : NaN
ink_on(r) = r == r && abs(log2(r)) > 1.3 ? 0xffffff : 0x222222
text(r, t) = (r == r ? sprintf("%.2fx", r)."\n" : "").(t < 99.5 ? sprintf("%.1f µs", t) : sprintf("%.0f µs", t))

set title what."\n".where textcolor rgb ink
set xlabel "tokens M"
unset grid
unset key
set border 0
set tics scale 0
set xtics ()
set for [i = 1:words(ms)] xtics add (word(ms, i) i)
set ytics ()
do for [w in lines] {
    at = strstrt(w, "|")
    eval sprintf("set ytics add ('%s %s' %d)", w[1:at - 1], w[at + 1:*], line_of(w[1:at - 1], w[at + 1:*]))
}
set xrange [0.5:words(ms) + 0.5]
set yrange [0.5:words(lines) + 0.5]
set palette defined (-2 "#B34E00", -1 "#E69F66", 0 "#f7f7f7", 1 "#7FB2D9", 2 "#00508A")
set cbrange [-2:2]
set cbtics ("1/4" -2, "1/2" -1, "1" 0, "2" 1, "4" 2)
set cblabel "speed-up (".times.(counted ? ", quantising counted" : ", without quantising").")\nover the ".baseline
set style fill solid 1.0 border linecolor rgb "#ffffff"

do for [format in "svg png"] {
    eval terminal(format, 200 + (words(ms) > 9 ? words(ms) : 9) * 92, height)
    set output name.".".format
    plot data using (order(ms, strcol(5))):(line_of(strcol(1), strcol(2))):(0.5):(0.5) with boxxyerror \
            fillcolor rgb "#dddddd" linewidth 2, \
        data using (order(ms, strcol(5))):(line_of(strcol(1), strcol(2))):(0.5):(0.5):(shown(known(figure))) with boxxyerror \
            linewidth 2 linecolor palette, \
        data using (order(ms, strcol(5))):(line_of(strcol(1), strcol(2))):(text(known(figure), cost($6, known(22)))):(ink_on(known(figure))) with labels \
            font ",11" textcolor rgb variable
    set output
}
