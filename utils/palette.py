"""Colours for categories that come without one."""

import colorsys

_GOLDEN_RATIO = 0.618033988749895


def distinct_color(index: int) -> tuple[int, int, int]:
    """Returns the RGB colour (0..255) number ``index`` of an endless list whose neighbours look different.

    Hues step by the golden ratio, so that any first n of them are spread evenly; saturation and value alternate.
    """
    hue = (0.02 + index * _GOLDEN_RATIO) % 1.0
    saturation = (0.75, 0.55, 0.9)[index // 7 % 3]
    value = (0.95, 0.75, 0.85)[index // 3 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
