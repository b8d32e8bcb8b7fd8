"""What the demo assistant can be asked, and how it answers: rules and intents, in the formalism's notation.

Words are chosen to sound apart: no pair such as one/nine, thirteen/thirty, twenty/eighty or monday/sunday is in it.
"""

from __future__ import annotations

from manifests.demo.formalism import Intent

RULES: dict[str, tuple[str, ...]] = {
    "ask": ("", "please", "could you", "hello", "i need you to"),
    "okay": ("okay", "sure", "alright", "certainly", "no problem", "very well"),
    "fact": ("", "well", "apparently", "good question"),
    "count": ("three", "five", "six", "seven", "ten", "twelve", "twenty", "forty"),
    "hour": ("three", "five", "six", "seven", "ten", "twelve"),
    "room": ("kitchen", "bedroom", "hallway", "garage", "office", "bathroom", "garden"),
    "color": ("blue", "green", "orange", "purple", "yellow"),
    "degrees": ("twelve", "sixteen", "twenty", "twenty two"),
    "day": ("tomorrow", "on monday", "on wednesday", "on friday", "on saturday"),
    "part": ("morning", "afternoon", "evening"),
    "city": ("boston", "chicago", "denver", "london", "paris", "madrid", "berlin", "tokyo"),
    "sky": ("sunny", "cloudy", "rainy", "windy", "foggy"),
    "music": ("jazz", "classical music", "country music", "piano music", "folk songs"),
    "person": ("michael", "laura", "peter", "susan", "victoria", "emma"),
    "item": ("apples", "potatoes", "tomatoes", "bananas", "mushrooms", "carrots"),
    "goods": ("butter", "cheese", "coffee", "sugar", "chocolate", "paper towels"),
    "dish": ("pasta", "salmon", "pancakes", "chicken soup", "vegetable curry"),
    "task": (
        "water the plants",
        "feed the cat",
        "wash the car",
        "clean the windows",
        "pay the rent",
        "visit the dentist",
        "return the library books",
    ),
    "news": (
        "i am running late",
        "dinner is ready",
        "the meeting is over",
        "happy birthday",
        "the package has arrived",
    ),
    "price": ("twelve dollars", "twenty dollars", "forty dollars", "sixty dollars"),
    "spoon": ("teaspoons", "cups", "grams"),
    "place": ("pharmacy", "bakery", "museum", "hospital", "swimming pool"),
    "street": ("market street", "station road", "washington avenue"),
    "landmark": ("church", "bridge", "school", "post office"),
}

INTENTS: tuple[Intent, ...] = (
    Intent(
        "timer",
        (
            "<ask> set a <dish> timer for <count> minutes",
            "<ask> tell me when the <dish> is finished in <count> minutes",
        ),
        (
            "<okay>, i set a <dish> timer for <count> minutes",
            "<okay>, the <dish> timer is running, <count> minutes to go",
        ),
    ),
    Intent(
        "lights",
        ("<ask> make the <room> lights <color>", "<ask> change the lamp in the <room> to <color>"),
        ("<okay>, the <room> lights are <color> now", "<okay>, you will find <color> light in the <room>"),
    ),
    Intent(
        "switch",
        ("<ask> turn off the <room> lights in <count> minutes", "<ask> have the <room> dark in <count> minutes"),
        (
            "<okay>, the <room> lights will go off in <count> minutes",
            "<okay>, in <count> minutes it will be dark in the <room>",
        ),
    ),
    Intent(
        "heating",
        ("<ask> set the <room> to <degrees> degrees", "i would like <degrees> degrees in the <room>"),
        (
            "<okay>, the heating in the <room> is set to <degrees> degrees",
            "<okay>, the <room> will be at <degrees> degrees in <count> minutes",
        ),
    ),
    Intent(
        "alarm",
        ("<ask> wake me up <day> at <hour>", "<ask> set an alarm for <hour> o'clock <day>"),
        ("<okay>, your alarm is set for <hour> o'clock <day>", "<okay>, i will wake you up <day> at <hour>"),
    ),
    Intent(
        "weather",
        (
            "what is the weather like in <city> <day>",
            "will it be <sky:b> in <city> <day>",
            "<ask> check the weather in <city> <day>",
        ),
        (
            "<fact>, it will be <sky> in <city> <day>",
            "<fact>, expect a <sky> <part> in <city> <day>",
        ),
    ),
    Intent(
        "music",
        ("<ask> play some <music> in the <room>", "i want to hear <music> in the <room>"),
        ("<okay>, playing <music> in the <room>", "<okay>, here is some <music> for the <room>"),
    ),
    Intent(
        "message",
        ("<ask> tell <person> that <news>", "<ask> send a message to <person>, <news>"),
        ("<okay>, i told <person> that <news>", "<okay>, your message to <person> says, <news>"),
    ),
    Intent(
        "shopping",
        (
            "<ask> put <item> and <goods> on the shopping list",
            "we need more <item> and <goods>",
            "<ask> order <goods> and <item>",
        ),
        (
            "<okay>, <item> and <goods> are on your shopping list",
            "<okay>, i added <item> and <goods>, you have <count> things",
        ),
    ),
    Intent(
        "train",
        ("when does the next train leave for <city>", "<ask> find me a train to <city> <day>"),
        (
            "<fact>, the <city> train leaves from platform <hour> in <count> minutes",
            "<fact>, a ticket to <city> <day> costs <price>",
        ),
    ),
    Intent(
        "reminder",
        ("<ask> remind me to <task> <day>", "i must not forget to <task> <day>"),
        ("<okay>, i will remind you to <task> <day>", "<okay>, <day> in the <part> you have to <task>"),
    ),
    Intent(
        "recipe",
        ("how many <item> do i need for the <dish>", "<ask> look up how many <item> go into <dish>"),
        (
            "<fact>, the <dish> needs <count> <spoon> of <item>",
            "<fact>, use <count> <spoon> of <item> for the <dish>",
        ),
    ),
    Intent(
        "meeting",
        ("<ask> arrange a meeting with <person> <day>", "when can i meet <person> <day>"),
        (
            "<okay>, you will meet <person> <day> at <hour> in the <part>",
            "<fact>, <person> is free <day> after <hour> o'clock",
        ),
    ),
    Intent(
        "directions",
        ("where is the nearest <place>", "<ask> show me the way to the <place>"),
        (
            "<fact>, the <place> is on <street>, <count> minutes away",
            "<fact>, the <place> is on <street> behind the <landmark>",
        ),
    ),
)
