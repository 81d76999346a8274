# How far the best configuration so far is from the best of all, against the share of configurations that were measured: the median over
# problems and seeds as a line, the worst tenth's limit dashed.
order(list, w) = sum [i = 1:words(list)] (word(list, i) eq w ? i : 0)
width = 1000
height = 520
floor_percent = 0.05
shown(c) = valid(c) ? (column(c) < floor_percent ? floor_percent : column(c)) : NaN
set title sprintf("search against an exhaustive sweep: %d problems, %d seeds", problems, seeds)."\n".origin." times" textcolor rgb ink
set xlabel "configurations measured (%)"
set ylabel "slower than the best of all (%)"
set logscale y 10
set xrange [0:share]
set yrange [floor_percent / 1.5:*]
set xtics ("10" 10)
set xtics add auto
set ytics ("≤ 0.05" 0.05, "0.1" 0.1, "0.3" 0.3, "1" 1, "3" 3, "10" 10, "30" 30, "100" 100, "300" 300, "1000" 1000)
set key outside right center Left reverse samplen 4 spacing 1.3 width 0

do for [format in "svg png"] {
{{picture}}
    plot 1 with lines linewidth 2 linecolor rgb "#000000" dashtype (6, 4) title "1 %", \
        for [s in strategies] data using (strcol(1) eq s ? $2 : NaN):(shown(3)) with lines linewidth 2.6 \
            linecolor rgb colour(order(strategies, s)) title s.", median", \
        for [s in strategies] data using (strcol(1) eq s ? $2 : NaN):(shown(4)) with lines linewidth 1.4 dashtype (3, 3) \
            linecolor rgb colour(order(strategies, s)) title s.", 9 of 10"
    set output
}
