"""Names of everyday things, for naming what is in a scene and suggesting what to ask it.

Words for whole families ("computer", "tool") are not among them: they fit every member, and hide its name.
"""

_WORDS = """
    air conditioner, alarm clock, apple, apron, armchair, avocado, axe, backpack, bag, ball, balloon,
    banana, barrel, baseball, baseball bat, basket, basketball, bathtub, battery, bean bag, bed, bell, belt,
    bench, bicycle, bin, binoculars, bird, blanket, bleach bottle, blender, blinds, board game, book,
    bookshelf, boot, bottle, bottle cap, bowl, box, bracelet, bread, briefcase, broccoli, broom, brush,
    bucket, bus, cabinet, cable, cake, calculator, calendar, camera, can, candle, candlestick, cap, car,
    cardboard box, carpet, carrot, cat, ceiling, cereal box, chair, chandelier, cheese, chessboard,
    chocolate, clamp, clock, cloth, coat, coat hanger, coffee machine, coffee pot, coin, computer mouse,
    cookie, cooking pot, corkscrew, corn, cracker box, cucumber, cup, cupboard, curtain,
    cushion, cutting board, desk, desk lamp, detergent bottle, dice, dog, doll, door, door handle, drawer,
    dress, drill, drum, dustpan, egg, envelope, eraser, extension cord, fan, faucet, fence, figurine,
    fire extinguisher, fireplace, fish, flashlight, flower, flower pot, fork, fruit, frying pan, funnel,
    garlic, gift box, glass, glasses, globe, glove, glue, grape, grass, guitar, hair dryer, hammer, hammock,
    hand, handbag, hat, headphones, helmet, hose, houseplant, iron, ironing board, jacket, jar, jeans, jug,
    kettle, key, keyboard, kitchen scale, kiwi, knife, ladder, ladle, lamp, lamp shade, laptop, lemon,
    letter, lettuce, light bulb, light switch, lighter, lime, loudspeaker, magazine, mango, map, marker pen,
    mask, matchbox, mattress, measuring cup, meat, microphone, microscope, microwave, milk carton, mirror,
    mobile phone, money, monitor, mop, motorcycle, muffin, mug, mushroom, mustard bottle, nail, napkin,
    necklace, newspaper, notebook, nut, onion, orange, oven, padlock, paint brush, painting, pan,
    pancake, paper, paper towel, peach, pear, pen, pencil, pencil case, pepper, pepper mill, perfume, person,
    piano, picture frame, pillow, pineapple, pitcher, pizza, plant, plastic bag, plate, pliers, plug, plum,
    pomegranate, poster, pot, potato, power socket, printer, projector, pumpkin, purse, puzzle, racket,
    radiator, radio, razor, refrigerator, remote control, ring, rock, rope, rubik's cube, rug, ruler, salt
    shaker, sandwich, sauce bottle, saucer, saw, scarf, scissors, screen, screwdriver, shampoo bottle, sheep,
    shelf, shirt, shoe, shovel, shower, sink, skateboard, sneaker, soap, soap dispenser, sock, soda can,
    sofa, soup can, spatula, spice jar, spider, sponge, spoon, spray bottle, stairs, stapler, statue,
    stethoscope, stone, stool, stove, strawberry, suitcase, sugar box, sunglasses, sweater, syringe, table,
    tablecloth, tablet computer, tape, tape measure, tea bag, tea towel, teapot, teddy bear, telephone,
    telescope, television, tennis ball, tennis racket, tent, thermometer, tie, tin can, tire, tissue box,
    toaster, toilet, toilet paper, tomato, tongs, toolbox, toothbrush, toothpaste, towel, toy,
    toy airplane, toy animal, toy brick, toy car, toy train, traffic cone, trash can, tray, tree, tripod,
    trousers, trumpet, umbrella, vacuum cleaner, vase, video game controller, violin, wall, wallet, wardrobe,
    washing machine, watch, water bottle, watering can, watermelon, wheel, whisk, whiteboard, window,
    window blind, wine bottle, wine glass, wooden block, wooden floor, wrench, yarn
"""
EVERYDAY = tuple(" ".join(word.split()) for word in _WORDS.split(","))
