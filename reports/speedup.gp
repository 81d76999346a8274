# Speed-up over the fp16 baseline against the number of tokens: a colour for each layer, a dash and a point for each scheme.
rows = words(layers) * words(schemes)
height = 560 > 130 + 24 * rows ? 560 : 130 + 24 * rows
set title what."\n".where textcolor rgb ink
set xlabel "tokens M"
set ylabel "speed-up over the baseline (".times.")"
set logscale x 2
set xrange [real(word(ms, 1)) / 1.25 : real(word(ms, words(ms))) * 1.25]
set yrange [0:*]
set offsets 0, 0, 0.15, 0
set xtics font ",12"
set key outside right center Left reverse samplen 4 spacing 1.3 width 0

do for [format in "svg png"] {
    eval terminal(format, 1120, height)
    set output name.".".format
    plot 1 with lines linewidth 2 linecolor rgb "#000000" dashtype (6, 4) title baseline, \
        for [l in layers] for [s in schemes] data \
            using (times eq "measured" && strcol(1) eq l && strcol(2) eq s ? $5 : NaN):10:11:12 with yerrorbars pointtype 0 linewidth 1.2 \
            linecolor rgb colour(order(layers, l)) notitle, \
        for [l in layers] for [s in schemes] data \
            using (strcol(1) eq l && strcol(2) eq s ? $5 : NaN):10 with linespoints linewidth 2.2 pointsize 0.9 \
            linecolor rgb colour(order(layers, l)) dashtype order(schemes, s) pointtype 2 * order(schemes, s) + 3 \
            title l." ".s
    set output
}
