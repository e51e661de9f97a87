"""Names of everyday things, for suggesting what to ask a scene that nobody has labelled."""

_WORDS = """
    apple, armchair, backpack, ball, banana, basket, bed, bench, bicycle, blanket, book, bookshelf,
    bottle, bowl, box, bread, broom, bucket, cabinet, cake, camera, candle, car, carpet, cat,
    ceiling, chair, clock, cloth, coat, computer mouse, cup, curtain, cushion, desk, desk lamp, dog,
    door, drawer, drill, fan, fence, flower, flower pot, fork, fruit, glass, glasses, glove, grass,
    guitar, hammer, hat, headphones, jar, jug, kettle, keyboard, knife, ladder, lamp, laptop, lemon,
    light switch, loudspeaker, microwave, mirror, monitor, mug, notebook, orange, oven, painting,
    pan, paper, pear, pen, pencil, person, piano, picture frame, pillow, pitcher, plant, plate, pot,
    printer, radiator, radio, refrigerator, remote control, rock, rug, scarf, scissors, screen,
    screwdriver, shelf, shirt, shoe, sink, smartphone, soap, socket, sofa, spoon, stairs, stapler,
    statue, stone, stool, stove, suitcase, table, tape, tea towel, teapot, teddy bear, telephone,
    television, tennis ball, toaster, toilet, tool, towel, toy, toy car, tray, tree, trousers,
    umbrella, vase, wall, wardrobe, washing machine, window, wine bottle, wooden floor
"""
EVERYDAY = tuple(word.strip() for word in _WORDS.replace("\n", " ").split(","))
