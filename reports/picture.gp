    if (format eq "svg") {
        set terminal svg noenhanced size width, height font face background "#ffffff"
    } else {
        set terminal pngcairo noenhanced size 1.6 * width, 1.6 * height font face fontscale 1.6 linewidth 1.6 pointscale 1.6
    }
    set output name.".".format
