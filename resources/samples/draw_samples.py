#!/usr/bin/env python3
"""Draws the sample images: one picture for each class of the shipped CIFAR-10 model.

    python3 resources/samples/draw_samples.py [NAME...]     (needs Pillow)

Every picture is made here from curves, gradients and smooth noise with fixed seeds; nothing is
traced or copied from a photograph. The model looks at 32 x 32 pixels, so what counts is what
survives that: one subject that fills the frame, soft light from above, plausible colours and a
background of the usual kind. The pictures are drawn four times too large and reduced, which gives
smooth edges and keeps the coordinates below in final pixels (0..256, y downwards).
"""

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE = 256
SCALE = 4
FULL = SIZE * SCALE


def noise(cells, seed, octaves=4, stretch=1.0):
    """Smooth noise, 0..255 around 128; `cells` of the coarsest octave across the picture."""
    random_bytes = random.Random(seed)
    total = Image.new("L", (FULL, FULL), 128)
    for octave in range(octaves):
        across = max(2, int(cells * 2**octave))
        down = max(2, int(across * stretch))
        grid = Image.frombytes("L", (across, down), random_bytes.randbytes(across * down))
        layer = grid.resize((FULL, FULL), Image.BICUBIC)
        total = Image.blend(total, layer, 0.5 ** (octave + 1) if octave else 0.7)
    return total


def gradient(*stops):
    """Vertical gradient; stops are (y, colour)."""
    column = Image.new("RGB", (1, SIZE))
    for y in range(SIZE):
        for (y0, c0), (y1, c1) in zip(stops, stops[1:]):
            if y0 <= y <= y1 or (y > y1 and (y1, c1) == stops[-1]) or (y < stops[0][0]):
                t = min(1.0, max(0.0, (y - y0) / max(1e-9, y1 - y0)))
                column.putpixel((0, y), tuple(round(a + (b - a) * t) for a, b in zip(c0, c1)))
                break
    return column.resize((FULL, FULL), Image.BICUBIC)


def curve(points, closed=True, steps=10):
    """Catmull-Rom spline through the points."""
    n = len(points)
    result = []
    for i in range(n if closed else n - 1):
        p = [points[(i + k - 1) % n] if closed else points[min(max(i + k - 1, 0), n - 1)]
             for k in range(4)]
        for s in range(steps):
            t = s / steps
            result.append(tuple(
                0.5 * (2 * p[1][a] + (p[2][a] - p[0][a]) * t
                       + (2 * p[0][a] - 5 * p[1][a] + 4 * p[2][a] - p[3][a]) * t * t
                       + (3 * p[1][a] - p[0][a] - 3 * p[2][a] + p[3][a]) * t**3)
                for a in (0, 1)))
    if not closed:
        result.append(points[-1])
    return result


def scaled(points):
    return [(x * SCALE, y * SCALE) for x, y in points]


def shifted(mask, dx, dy):
    """The mask moved by whole pixels of the large picture; its edges continue outwards."""
    result = ImageChops.offset(mask, dx, dy)
    if dy > 0:
        result.paste(mask.crop((0, 0, FULL, 1)).resize((FULL, dy)), (0, 0))
    elif dy < 0:
        result.paste(mask.crop((0, FULL - 1, FULL, FULL)).resize((FULL, -dy)), (0, FULL + dy))
    if dx > 0:
        result.paste(result.crop((dx, 0, dx + 1, FULL)).resize((dx, FULL)), (0, 0))
    elif dx < 0:
        edge = result.crop((FULL + dx - 1, 0, FULL + dx, FULL))
        result.paste(edge.resize((-dx, FULL)), (FULL + dx, 0))
    return result


class Picture:
    def __init__(self, background):
        self.image = background.copy()

    # Masks ------------------------------------------------------------------------------------
    def polygon(self, points):
        mask = Image.new("L", (FULL, FULL))
        ImageDraw.Draw(mask).polygon(scaled(points), fill=255)
        return mask

    def blob(self, points):
        return self.polygon(curve(points))

    def ellipse(self, x, y, rx, ry, angle=0.0):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn = [2 * math.pi * k / 72 for k in range(72)]
        return self.polygon([(x + rx * math.cos(a) * c - ry * math.sin(a) * s,
                              y + rx * math.cos(a) * s + ry * math.sin(a) * c) for a in turn])

    def stroke(self, points, widths):
        """A limb: a smooth line whose width changes along it."""
        line = curve(points, closed=False)
        mask = Image.new("L", (FULL, FULL))
        draw = ImageDraw.Draw(mask)
        last = len(line) - 1
        for k, (x, y) in enumerate(line):
            position = k / last * (len(widths) - 1)
            i = min(int(position), len(widths) - 2)
            w = widths[i] + (widths[i + 1] - widths[i]) * (position - i)
            if k:
                px, py = line[k - 1]
                parts = max(1, int(math.hypot(x - px, y - py)))
            else:
                px, py, parts = x, y, 1
            for part in range(parts):
                t = (part + 1) / parts
                cx, cy = (px + (x - px) * t) * SCALE, (py + (y - py) * t) * SCALE
                r = w * SCALE / 2
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=255)
        return mask

    # Paint ------------------------------------------------------------------------------------
    def fill(self, mask, colour, soft=0.0, opacity=1.0):
        if soft:
            mask = mask.filter(ImageFilter.GaussianBlur(soft * SCALE))
        if opacity < 1:
            mask = mask.point(lambda v: round(v * opacity))
        source = colour if isinstance(colour, Image.Image) else Image.new("RGB", (FULL, FULL), colour)
        self.image.paste(source, (0, 0), mask)

    def body(self, mask, light, dark, depth=14.0, texture=None, amount=0.25, direction=(0.25, 1.0)):
        """Fills a mask as if it were round: light where it faces up, dark on the lower rim."""
        blurred = mask.filter(ImageFilter.GaussianBlur(depth * SCALE / 2))
        shift = (round(direction[0] * depth * SCALE / 2), round(direction[1] * depth * SCALE / 2))
        below = shifted(blurred, -shift[0], -shift[1])
        above = shifted(blurred, shift[0], shift[1])
        # 128 in the middle, brighter towards the light, darker away from it.
        shade = ImageChops.subtract(below, above, 1.0, 128)
        tone = shade.point(lambda v: min(255, max(0, round((v - 128) * 0.9 + 150))))
        if texture is not None:
            tone = ImageChops.add(tone, texture.point(lambda v: round(v * amount)), 1.0,
                                  -round(128 * amount))
        painted = Image.composite(Image.new("RGB", (FULL, FULL), light),
                                  Image.new("RGB", (FULL, FULL), dark), tone)
        self.image.paste(painted, (0, 0), mask)

    def shadow(self, x, y, rx, ry, opacity=0.45, colour=(20, 22, 18)):
        self.fill(self.ellipse(x, y, rx, ry), colour, soft=ry * 0.5, opacity=opacity)

    def mottle(self, texture, colour, opacity, mask=None, threshold=128, sharpness=4):
        spots = texture.point(lambda v: min(255, max(0, (v - threshold) * sharpness)))
        spots = spots.point(lambda v: round(v * opacity))
        if mask is not None:
            spots = ImageChops.multiply(spots, mask)
        self.image.paste(Image.new("RGB", (FULL, FULL), colour), (0, 0), spots)

    def finish(self, seed, blur=0.5, grain=3):
        image = self.image.filter(ImageFilter.GaussianBlur(blur * SCALE))
        image = image.resize((SIZE, SIZE), Image.LANCZOS)
        random_bytes = random.Random(seed)
        layer = Image.frombytes("L", (SIZE, SIZE), random_bytes.randbytes(SIZE * SIZE))
        layer = layer.filter(ImageFilter.GaussianBlur(0.7))
        layer = layer.point(lambda v: min(255, max(0, round(128 + (v - 128) * grain / 40))))
        return ImageChops.add(image, Image.merge("RGB", [layer] * 3), 1.0, -128)


def meadow(horizon, far, near, sky_top, sky_bottom, seed, trees=None):
    """Sky, an optional blurred line of trees, and grass."""
    picture = Picture(gradient((0, sky_top), (horizon, sky_bottom), (255, sky_bottom)))
    if trees:
        edge = random.Random(seed)
        top = [(-10, horizon + 6)]
        for x in range(-10, 270, 12):
            top.append((x, horizon - trees[0] * edge.uniform(0.55, 1.0)))
        top += [(270, horizon + 6)]
        mask = picture.polygon(top)
        picture.fill(mask, trees[1], soft=3)
        picture.mottle(noise(14, seed + 1), trees[2], 0.5, mask=mask)
    ground = picture.polygon([(-5, horizon), (261, horizon), (261, 261), (-5, 261)])
    picture.fill(ground, gradient((horizon, far), (255, near)), soft=1.5)
    picture.mottle(noise(10, seed + 2, stretch=2.5), tuple(c * 7 // 10 for c in near), 0.4,
                   mask=ground)
    picture.mottle(noise(22, seed + 3, stretch=0.4), tuple(min(255, c + 35) for c in near), 0.35,
                   mask=ground)
    return picture


def airplane():
    p = Picture(gradient((0, (86, 138, 196)), (255, (186, 212, 236))))
    p.mottle(noise(3, 11, stretch=2), (240, 245, 250), 0.65, threshold=140, sharpness=3)
    # The far wing, behind the fuselage.
    p.body(p.polygon([(126, 120), (146, 120), (178, 84), (168, 82)]), (150, 158, 170),
           (96, 104, 118), 6)
    # Tail fin and tailplane.
    p.body(p.polygon([(38, 118), (22, 62), (42, 62), (78, 114)]), (214, 60, 56), (140, 26, 30), 10)
    # Fuselage.
    body = p.blob([(18, 112), (60, 108), (140, 108), (205, 110), (232, 119), (240, 128),
                   (228, 138), (196, 144), (120, 146), (66, 140), (30, 122)])
    p.body(body, (248, 250, 252), (138, 146, 160), 18)
    p.fill(p.polygon([(28, 120), (238, 129), (236, 132), (60, 130)]), (196, 52, 52), opacity=0.75)
    for x in range(70, 208, 8):
        p.fill(p.ellipse(x, 120, 2, 2.6), (48, 58, 78))
    p.fill(p.polygon([(222, 117), (232, 121), (230, 125), (218, 122)]), (38, 48, 66))
    p.body(p.polygon([(20, 114), (8, 104), (20, 103), (58, 114)]), (190, 196, 206), (116, 122, 134), 5)
    # Engine and near wing.
    p.body(p.blob([(120, 156), (148, 154), (154, 162), (148, 170), (122, 168)]), (206, 212, 220),
           (78, 86, 98), 9)
    p.body(p.polygon([(112, 136), (158, 136), (96, 196), (76, 198)]), (206, 212, 222),
           (112, 120, 134), 10)
    return p.finish(1)


def ship():
    p = Picture(gradient((0, (142, 178, 214)), (132, (222, 230, 236)), (255, (222, 230, 236))))
    p.mottle(noise(3, 21, stretch=2.5), (246, 248, 250), 0.6, threshold=136, sharpness=3)
    sea = p.polygon([(-5, 136), (261, 136), (261, 261), (-5, 261)])
    p.fill(sea, gradient((136, (96, 134, 160)), (255, (32, 66, 98))))
    p.mottle(noise(8, 22, stretch=5), (150, 182, 200), 0.4, mask=sea, threshold=138)
    p.mottle(noise(16, 23, stretch=4), (20, 44, 70), 0.4, mask=sea, threshold=136)
    # Superstructure, funnel, masts.
    p.body(p.polygon([(52, 124), (56, 96), (104, 96), (104, 124)]), (250, 250, 250),
           (176, 184, 194), 10)
    p.body(p.polygon([(62, 96), (64, 76), (98, 76), (98, 96)]), (250, 250, 250), (170, 178, 190), 8)
    p.body(p.polygon([(70, 76), (72, 54), (88, 54), (90, 76)]), (214, 84, 60), (132, 40, 34), 8)
    p.fill(p.polygon([(71, 60), (72, 54), (88, 54), (88.5, 60)]), (36, 36, 40))
    for y in (84, 104, 114):
        for x in range(64, 98, 7):
            p.fill(p.polygon([(x, y), (x + 4, y), (x + 4, y + 4), (x, y + 4)]), (56, 72, 92))
    p.fill(p.stroke([(138, 126), (138, 66)], [3, 2]), (226, 220, 204))
    p.fill(p.stroke([(138, 74), (164, 112)], [1.6, 1.6]), (216, 208, 192))
    p.fill(p.stroke([(184, 126), (184, 74)], [3, 2]), (226, 220, 204))
    p.fill(p.stroke([(184, 80), (208, 114)], [1.6, 1.6]), (216, 208, 192))
    for x, colour in ((112, (188, 74, 52)), (134, (60, 104, 140)), (156, (204, 150, 60)),
                      (178, (78, 128, 92))):
        p.body(p.polygon([(x, 124), (x, 108), (x + 20, 108), (x + 20, 124)]), colour,
               tuple(c // 2 for c in colour), 6)
    hull = p.polygon(curve([(20, 122), (60, 123), (130, 124), (200, 121), (242, 112), (236, 130),
                            (222, 158), (216, 166)], closed=False) + [(40, 168), (28, 150)])
    p.body(hull, (58, 72, 96), (18, 26, 42), 16)
    p.fill(ImageChops.multiply(hull, p.polygon([(0, 154), (256, 152), (256, 180), (0, 180)])),
           (150, 44, 40))
    p.fill(p.stroke([(22, 124), (130, 127), (200, 124), (240, 115)], [2, 2]), (232, 234, 236))
    p.fill(p.stroke([(26, 169), (120, 172), (224, 168)], [4, 6, 3]), (226, 236, 240), soft=1.2,
           opacity=0.85)
    p.fill(p.ellipse(124, 190, 92, 12), (18, 34, 54), soft=7, opacity=0.5)
    return p.finish(2)


def wheel(p, x, y, r):
    p.fill(p.ellipse(x, y, r, r), (22, 22, 24))
    p.body(p.ellipse(x, y, r * 0.58, r * 0.58), (206, 210, 216), (104, 110, 118), r * 0.5)
    p.fill(p.ellipse(x, y, r * 0.18, r * 0.18), (52, 54, 60))


def street(seed, wall, wall2):
    p = Picture(gradient((0, wall), (150, wall2), (255, wall2)))
    p.mottle(noise(6, seed), tuple(c * 8 // 10 for c in wall), 0.5)
    road = p.polygon([(-5, 164), (261, 164), (261, 261), (-5, 261)])
    p.fill(road, gradient((164, (128, 128, 130)), (255, (86, 86, 90))), soft=1)
    p.mottle(noise(30, seed + 1), (66, 66, 70), 0.35, mask=road)
    return p


def automobile():
    p = street(31, (178, 196, 206), (206, 208, 204))
    p.shadow(128, 204, 112, 11, 0.75)
    paint, dark = (212, 34, 36), (98, 8, 14)
    body = p.blob([(12, 172), (18, 150), (52, 140), (84, 132), (160, 132), (206, 142), (240, 152),
                   (246, 176), (240, 194), (206, 198), (128, 198), (40, 198), (16, 192)])
    roof = p.blob([(48, 142), (74, 110), (104, 98), (148, 98), (176, 112), (206, 144), (128, 152)])
    p.body(roof, paint, dark, 16)
    p.body(body, (224, 40, 42), dark, 22)
    glass = (52, 66, 80)
    p.body(p.polygon([(64, 138), (82, 113), (106, 105), (120, 104), (120, 138)]), (150, 174, 192),
           glass, 14)
    p.body(p.polygon([(127, 138), (127, 104), (148, 105), (168, 114), (188, 139)]), (150, 174, 192),
           glass, 14)
    p.fill(p.stroke([(20, 168), (128, 164), (240, 168)], [1.4, 1.4]), (96, 6, 12), opacity=0.8)
    p.fill(p.stroke([(123, 140), (124, 192)], [1.2, 1.2]), (96, 6, 12), opacity=0.8)
    p.body(p.ellipse(234, 160, 9, 6, 12), (250, 246, 220), (186, 176, 140), 5)
    p.body(p.ellipse(17, 160, 5, 7), (255, 120, 60), (150, 30, 20), 4)
    p.fill(p.polygon([(14, 184), (244, 184), (240, 196), (18, 196)]), (44, 20, 22), opacity=0.7)
    for x in (62, 196):
        p.fill(p.ellipse(x, 188, 28, 27), (30, 10, 12))
        wheel(p, x, 192, 23)
    return p.finish(3)


def truck():
    p = street(41, (170, 198, 226), (214, 222, 226))
    p.fill(p.polygon([(-5, 146), (60, 138), (140, 142), (261, 136), (261, 166), (-5, 166)]),
           (92, 112, 84), soft=2)
    p.shadow(128, 214, 116, 11, 0.75)
    # Cargo box.
    box = p.polygon([(10, 62), (166, 62), (166, 184), (10, 184)])
    p.body(box, (240, 240, 236), (158, 162, 168), 18)
    for x in range(30, 160, 20):
        p.fill(p.stroke([(x, 66), (x, 180)], [1, 1]), (176, 180, 186), opacity=0.8)
    p.fill(p.polygon([(10, 108), (166, 108), (166, 132), (10, 132)]), (44, 84, 152))
    # Frame and cab.
    p.fill(p.polygon([(8, 184), (240, 184), (240, 200), (8, 200)]), (40, 42, 46))
    cab = p.blob([(172, 186), (172, 98), (180, 92), (216, 93), (226, 104), (238, 140), (247, 148),
                  (249, 190), (238, 196), (180, 196)])
    p.body(cab, (206, 46, 38), (98, 14, 14), 18)
    p.body(p.polygon([(186, 138), (186, 104), (213, 104), (226, 138)]), (166, 190, 206),
           (50, 64, 80), 12)
    p.fill(p.stroke([(184, 144), (184, 190)], [1.2, 1.2]), (88, 12, 12))
    p.body(p.ellipse(243, 166, 5, 7), (252, 246, 214), (180, 168, 120), 4)
    p.fill(p.polygon([(236, 182), (252, 182), (252, 196), (236, 196)]), (196, 198, 202))
    for x in (46, 94, 214):
        p.fill(p.ellipse(x, 196, 25, 24), (24, 22, 22))
        wheel(p, x, 201, 21)
    return p.finish(4)


def frog():
    p = Picture(gradient((0, (50, 44, 36)), (255, (70, 56, 40))))
    p.mottle(noise(7, 51), (34, 30, 24), 0.6)
    p.mottle(noise(18, 52), (100, 86, 62), 0.35)
    green, dark = (172, 192, 62), (60, 90, 20)
    skin = noise(20, 53)
    p.shadow(128, 204, 106, 24, 0.7)
    p.body(p.blob([(184, 120), (222, 138), (240, 172), (226, 200), (190, 206), (166, 184)]), green,
           dark, 22, skin, 0.5)
    p.body(p.stroke([(206, 196), (180, 208), (222, 216)], [16, 13, 8]), green, dark, 8)
    p.body(p.blob([(34, 134), (48, 96), (86, 76), (132, 78), (184, 100), (220, 140), (222, 182),
                   (180, 204), (120, 206), (70, 194), (40, 166)]), green, dark, 34, skin, 0.6)
    p.body(p.blob([(42, 150), (80, 164), (130, 170), (140, 196), (96, 204), (58, 188)]),
           (222, 218, 168), (150, 146, 92), 16)
    p.mottle(noise(13, 54), (52, 66, 24), 0.6,
             mask=p.blob([(80, 84), (134, 82), (190, 108), (214, 150), (200, 176), (140, 150),
                          (90, 124)]), threshold=142)
    p.fill(p.stroke([(34, 142), (64, 156), (116, 152)], [2.4, 2.4]), (46, 50, 20))
    for x, y in ((66, 92), (112, 84)):
        p.body(p.ellipse(x, y, 19, 18), green, dark, 12)
        p.body(p.ellipse(x - 2, y, 12, 12), (222, 176, 62), (150, 100, 24), 8)
        p.fill(p.ellipse(x - 3, y, 7, 5.5), (12, 12, 10))
        p.fill(p.ellipse(x - 6, y - 5, 2.6, 2.6), (244, 244, 236))
    p.body(p.stroke([(84, 178), (74, 202), (50, 216)], [22, 16, 11]), green, dark, 12)
    for dx in (-24, -8, 8):
        p.fill(p.stroke([(54, 212), (54 + dx, 222)], [6, 4]), (92, 112, 44))
    p.body(p.stroke([(148, 180), (150, 204), (130, 216)], [22, 16, 11]), green, dark, 12)
    return p.finish(5, blur=0.6)


def legs(p, pairs, light, dark, depth=7):
    for points, widths in pairs:
        p.body(p.stroke(points, widths), light, dark, depth, direction=(1.0, 0.3))


def horse():
    p = meadow(104, (118, 150, 72), (82, 122, 46), (150, 188, 224), (214, 226, 230), 61,
               trees=(34, (72, 92, 62), (52, 70, 46)))
    p.shadow(128, 222, 92, 10, 0.55)
    coat, dark = (158, 92, 48), (62, 30, 14)
    legs(p, [([(88, 160), (80, 186), (86, 220)], [24, 13, 9]),
             ([(162, 164), (168, 192), (164, 222)], [18, 11, 8])], (104, 58, 30), (44, 22, 10))
    p.fill(p.stroke([(60, 116), (44, 144), (46, 186)], [12, 15, 5]), (34, 20, 12))
    body = p.blob([(58, 124), (72, 108), (104, 106), (140, 112), (166, 106), (182, 128),
                   (178, 154), (158, 168), (120, 172), (88, 168), (64, 154)])
    neck = p.blob([(150, 116), (172, 86), (192, 56), (212, 52), (218, 74), (202, 104), (188, 140),
                   (164, 146)])
    p.body(ImageChops.lighter(body, neck), coat, dark, 26, noise(14, 62), 0.25)
    legs(p, [([(74, 152), (66, 184), (70, 222)], [30, 14, 10]),
             ([(174, 152), (182, 188), (180, 224)], [22, 12, 9])], coat, dark)
    for x, y in ((70, 222), (87, 220), (164, 222), (180, 224)):
        p.fill(p.polygon([(x - 6, y - 3), (x + 6, y - 3), (x + 8, y + 5), (x - 7, y + 5)]),
               (30, 24, 22))
    head = p.blob([(196, 54), (212, 46), (228, 58), (244, 88), (246, 102), (236, 110), (224, 102),
                   (212, 84), (200, 76)])
    p.body(head, coat, dark, 14)
    p.fill(p.polygon([(204, 52), (206, 30), (216, 50)]), (112, 62, 32))
    p.fill(p.polygon([(198, 54), (197, 34), (208, 50)]), (88, 46, 24))
    p.fill(p.ellipse(218, 68, 3.4, 3), (14, 10, 8))
    p.fill(p.ellipse(239, 101, 2.6, 2), (26, 14, 10))
    p.fill(p.polygon(curve([(206, 44), (190, 52), (172, 78), (150, 108), (162, 112), (178, 92),
                            (196, 66)])), (36, 22, 14), soft=1)
    return p.finish(6)


def deer():
    p = meadow(84, (122, 132, 70), (94, 106, 48), (70, 86, 60), (98, 112, 76), 71,
               trees=(70, (50, 66, 42), (34, 46, 30)))
    p.shadow(126, 226, 80, 9, 0.5)
    coat, dark = (170, 116, 70), (84, 50, 26)
    legs(p, [([(86, 162), (80, 190), (84, 226)], [18, 9, 6]),
             ([(150, 160), (154, 192), (150, 226)], [14, 8, 6])], (126, 82, 48), (66, 38, 20))
    body = p.blob([(62, 128), (78, 116), (112, 118), (146, 116), (166, 126), (166, 150),
                   (146, 164), (108, 168), (78, 164), (62, 148)])
    neck = p.blob([(142, 124), (160, 98), (172, 70), (188, 68), (190, 88), (178, 120), (166, 146),
                   (148, 150)])
    p.body(ImageChops.lighter(body, neck), coat, dark, 24, noise(14, 72), 0.25)
    p.fill(p.blob([(70, 160), (110, 166), (144, 162), (110, 172)]), (224, 206, 176), soft=2,
           opacity=0.8)
    p.fill(p.ellipse(62, 130, 6, 11, 10), (238, 226, 204), soft=1)
    legs(p, [([(74, 154), (66, 188), (70, 228)], [22, 10, 7]),
             ([(160, 150), (166, 190), (163, 228)], [16, 9, 6])], coat, dark)
    head = p.blob([(170, 72), (182, 62), (196, 66), (214, 82), (222, 92), (214, 100), (198, 94),
                   (180, 92)])
    p.body(head, coat, dark, 12)
    p.fill(p.ellipse(219, 93, 4, 3.4), (24, 18, 16))
    p.fill(p.ellipse(193, 75, 3, 2.8), (14, 10, 8))
    p.body(p.blob([(174, 70), (154, 62), (148, 54), (164, 56), (180, 64)]), coat, dark, 6)
    p.body(p.blob([(188, 66), (204, 54), (212, 46), (206, 60), (196, 68)]), coat, dark, 6)
    horn = (196, 172, 136)
    for line in ([(178, 66), (166, 44), (172, 18)], [(168, 46), (152, 34), (148, 18)],
                 [(186, 64), (196, 40), (190, 14)], [(195, 42), (212, 30), (214, 14)],
                 [(168, 36), (180, 26), (180, 16)], [(195, 34), (204, 22), (202, 12)]):
        p.fill(p.stroke(line, [4.4, 3.6, 2.0]), horn)
    return p.finish(7)


def bird():
    p = Picture(gradient((0, (134, 160, 120)), (255, (96, 122, 84))))
    p.mottle(noise(4, 81), (174, 190, 140), 0.6, threshold=132, sharpness=3)
    p.mottle(noise(5, 82), (66, 92, 60), 0.5, threshold=138, sharpness=3)
    p.image = p.image.filter(ImageFilter.GaussianBlur(8 * SCALE))
    p.body(p.stroke([(-10, 204), (80, 194), (170, 204), (266, 190)], [16, 14, 13, 12]),
           (132, 104, 78), (60, 44, 32), 9, noise(26, 83), 0.6)
    back, dark = (126, 100, 76), (58, 42, 30)
    p.body(p.polygon([(70, 150), (8, 196), (16, 206), (88, 172)]), (98, 76, 58), (46, 34, 26), 9)
    p.fill(p.stroke([(126, 178), (124, 198)], [4, 3.4]), (92, 66, 48))
    p.fill(p.stroke([(146, 176), (150, 198)], [4, 3.4]), (92, 66, 48))
    body = p.blob([(62, 158), (84, 122), (124, 96), (156, 72), (186, 60), (208, 74), (210, 98),
                   (200, 130), (178, 164), (142, 184), (98, 182)])
    p.body(body, back, dark, 28, noise(22, 84), 0.3)
    p.fill(p.blob([(206, 96), (196, 132), (174, 162), (140, 180), (108, 178), (140, 152),
                   (176, 112)]), (232, 196, 150), soft=3)
    p.fill(p.blob([(208, 92), (196, 122), (172, 130), (180, 100)]), (206, 104, 56), soft=3,
           opacity=0.9)
    p.body(p.blob([(60, 162), (92, 118), (134, 106), (150, 130), (128, 158), (84, 172)]),
           (104, 82, 62), (44, 32, 24), 12, noise(26, 85), 0.5)
    for line in ([(70, 160), (106, 152), (142, 132)], [(76, 166), (110, 160), (136, 148)]):
        p.fill(p.stroke(line, [1, 2.4, 1.4]), (216, 196, 166))
    p.body(p.polygon([(206, 78), (240, 88), (207, 93)]), (96, 84, 66), (44, 38, 30), 5)
    p.fill(p.ellipse(191, 80, 5.4, 5.4), (16, 14, 12))
    p.fill(p.ellipse(189, 78, 1.6, 1.6), (246, 246, 246))
    return p.finish(8)


def cat():
    p = Picture(gradient((0, (226, 220, 212)), (255, (190, 178, 168))))
    p.mottle(noise(4, 91), (242, 238, 232), 0.5, threshold=134, sharpness=3)
    p.image = p.image.filter(ImageFilter.GaussianBlur(8 * SCALE))
    fur, dark = (120, 96, 76), (40, 30, 24)
    coat = noise(26, 92, stretch=0.6)
    p.body(p.blob([(44, 262), (52, 204), (84, 176), (172, 176), (206, 204), (214, 262)]), fur, dark,
           30, coat, 0.5)
    p.fill(p.blob([(100, 206), (156, 206), (166, 262), (90, 262)]), (238, 232, 224), soft=7)
    for ear, inner in (([(54, 110), (52, 26), (112, 66)], [(64, 90), (62, 46), (94, 68)]),
                       ([(202, 110), (204, 26), (144, 66)], [(192, 90), (194, 46), (162, 68)])):
        p.body(p.polygon(ear), fur, dark, 10, coat, 0.5)
        p.fill(p.polygon(inner), (206, 158, 148), soft=3)
    head = p.blob([(128, 58), (176, 66), (208, 104), (212, 144), (186, 184), (150, 204), (128, 208),
                   (106, 204), (70, 184), (44, 144), (48, 104), (80, 66)])
    p.body(head, fur, dark, 34, coat, 0.5)
    stripe = (62, 52, 46)
    for line in ([(128, 62), (128, 100)], [(110, 64), (114, 96)], [(146, 64), (142, 96)],
                 [(92, 72), (98, 92)], [(164, 72), (158, 92)], [(48, 128), (74, 132)],
                 [(50, 146), (76, 146)], [(208, 128), (182, 132)], [(206, 146), (180, 146)],
                 [(58, 164), (80, 158)], [(198, 164), (176, 158)]):
        p.fill(p.stroke(line, [7, 3]), stripe, soft=1.6, opacity=0.75)
    p.fill(p.blob([(128, 152), (158, 160), (166, 182), (150, 200), (128, 204), (106, 200),
                   (90, 182), (98, 160)]), (236, 228, 218), soft=5)
    for x in (92, 164):
        p.fill(p.ellipse(x, 124, 20, 17), (44, 38, 34), soft=1.5)
        p.body(p.ellipse(x, 124, 16.5, 14), (202, 206, 108), (118, 136, 54), 10)
        p.fill(p.ellipse(x, 124, 6, 12.5), (12, 12, 12))
        p.fill(p.ellipse(x - 5, 118, 3.2, 3.2), (250, 250, 250))
    p.fill(p.polygon([(117, 156), (139, 156), (128, 168)]), (204, 124, 118), soft=1)
    p.fill(p.stroke([(128, 168), (128, 178), (112, 186)], [2, 2]), (88, 62, 58))
    p.fill(p.stroke([(128, 178), (144, 186)], [2, 2]), (88, 62, 58))
    for side in (-1, 1):
        for rise in (-10, 0, 10):
            p.fill(p.stroke([(128 + side * 30, 172 + rise * 0.3),
                             (128 + side * 104, 168 + rise * 1.6)], [1.3, 0.6]), (248, 246, 242))
    return p.finish(9)


def dog():
    p = Picture(gradient((0, (128, 158, 98)), (255, (84, 118, 58))))
    p.mottle(noise(5, 101), (166, 190, 122), 0.5, threshold=134, sharpness=3)
    p.image = p.image.filter(ImageFilter.GaussianBlur(7 * SCALE))
    fur, dark = (208, 160, 100), (112, 70, 34)
    coat = noise(18, 102, stretch=0.6)
    p.body(p.blob([(40, 262), (54, 208), (90, 184), (166, 184), (202, 208), (216, 262)]), fur, dark,
           30, coat, 0.4)
    p.fill(p.blob([(96, 200), (160, 200), (168, 262), (88, 262)]), (240, 228, 208), soft=8)
    head = p.blob([(128, 36), (170, 44), (196, 80), (194, 124), (170, 160), (158, 200), (128, 214),
                   (98, 200), (86, 160), (62, 124), (60, 80), (86, 44)])
    p.body(head, fur, dark, 32, coat, 0.4)
    p.fill(p.blob([(120, 40), (136, 40), (142, 100), (158, 150), (160, 190), (128, 208), (96, 190),
                   (98, 150), (114, 100)]), (244, 234, 216), soft=5)
    for ear in ([(84, 46), (58, 48), (34, 84), (26, 136), (40, 160), (58, 144), (70, 100)],
                [(172, 46), (198, 48), (222, 84), (230, 136), (216, 160), (198, 144), (186, 100)]):
        p.body(p.blob(ear), (150, 98, 52), (72, 40, 18), 18, coat, 0.4)
    for x in (94, 162):
        p.fill(p.ellipse(x, 104, 13, 11), (84, 52, 28), soft=2)
        p.body(p.ellipse(x, 104, 9.5, 9.5), (84, 52, 28), (30, 18, 10), 6)
        p.fill(p.ellipse(x, 104, 5, 5), (10, 8, 8))
        p.fill(p.ellipse(x - 3, 100, 2.4, 2.4), (250, 250, 250))
    p.body(p.blob([(106, 150), (128, 144), (150, 150), (146, 168), (128, 176), (110, 168)]),
           (70, 62, 62), (14, 12, 12), 12)
    p.fill(p.stroke([(128, 174), (128, 190), (104, 194)], [2.6, 2.6]), (60, 40, 34))
    p.fill(p.stroke([(128, 190), (152, 194)], [2.6, 2.6]), (60, 40, 34))
    p.body(p.blob([(116, 194), (140, 194), (142, 216), (128, 226), (114, 216)]), (226, 118, 118),
           (160, 62, 66), 10)
    return p.finish(10)


PICTURES = [airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck]


def main(names):
    folder = Path(__file__).resolve().parent
    known = {picture.__name__: picture for picture in PICTURES}
    for name in names or known:
        if name not in known:
            sys.exit(f"draw_samples.py: there is no picture {name}; there are: {', '.join(known)}")
        known[name]().save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
