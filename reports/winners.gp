# The winners of each layer as a map: blue where they are faster than the fp16 baseline, orange where they are slower; with the time of
# quantising the activations, where it is known.
figure = counted ? 13 : 10
cost(t, q) = t + (counted && q == q ? q : 0)
lines = |layers| * |schemes|
width = 200 + (|ms| > 9 ? |ms| : 9) * 92 + (longest > 24 ? 9 * (longest - 24) : 0)
height = 190 + 52 * lines
line_of(l, s) = lines + 1 - ((l - 1) * |schemes| + s)
place(m) = sum [i = 1:|ms|] (ms[i] == m ? i : 0)
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
set for [i = 1:|ms|] xtics add (sprintf("%d", ms[i]) i)
set ytics ()
set for [l = 1:|layers|] for [s = 1:|schemes|] ytics add (layers[l]." ".schemes[s] line_of(l, s))
set xrange [0.5:|ms| + 0.5]
set yrange [0.5:lines + 0.5]
set palette defined (-2 "#B34E00", -1 "#E69F66", 0 "#f7f7f7", 1 "#7FB2D9", 2 "#00508A")
set cbrange [-2:2]
set cbtics ("1/4" -2, "1/2" -1, "1" 0, "2" 1, "4" 2)
set cblabel "speed-up (".times.(counted ? ", quantising counted" : ", without quantising").")\nover the ".baseline
set style fill solid 1.0 border linecolor rgb "#ffffff"

do for [format in "svg png"] {
{{picture}}
    plot data using (place($5)):(line_of($1, $2)):(0.5):(0.5) with boxxyerror \
            fillcolor rgb "#dddddd" linewidth 2, \
        data using (place($5)):(line_of($1, $2)):(0.5):(0.5):(shown(known(figure))) with boxxyerror \
            linewidth 2 linecolor palette, \
        data using (place($5)):(line_of($1, $2)):(text(known(figure), cost($6, known(19)))):(ink_on(known(figure))) with labels \
            font ",11" textcolor rgb variable
    set output
}
