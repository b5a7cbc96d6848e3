"""Messages to a support desk, in two piles: chapter 00's data, made up for this book.

The sentence that says what the matter is was written by hand for each message, and no
two messages share one. A greeting, a sentence that tells nothing and a closing are
drawn by chance from a few, whatever the pile. Training, validation and test messages
are cut from one shuffled list, each with two messages about money for three about
faults.
"""

import functools
import random

PILES = ("billing", "fault")
"""The piles; a label is the place of its pile."""

SIZES = {"train": 100, "validation": 60, "test": 100}
"""How many messages each part has."""

_BILLING = """
I was charged twice for the same month.
The invoice for March shows an amount that I never agreed to.
Please send me a receipt with the name of my company on it.
My card was declined although there is money on it.
I cancelled the subscription in May and you still took the payment.
The discount code was not taken off the total.
Can I pay for a whole year at once and get a lower price?
The refund that you promised has not reached my bank.
Why did the price of the family plan go up?
I need all invoices of last year for the tax office.
The free trial has ended early and I was billed on the same day.
There are two payments of nine euros on my statement.
My student discount is missing from the new invoice.
Please change the card that you charge each month.
I want to switch from the yearly plan to the monthly one.
Your reminder says that I have not paid, but I have.
The amount on the receipt and the amount on my card differ.
How do I get my money back for the storage that I did not use?
You took the payment on the first instead of the fifteenth.
I was asked for tax although my company is abroad.
Is there a cheaper plan for clubs and schools?
My gift card was refused when I tried to pay.
The invoice went to an address where I no longer live.
I would like to pay by bank transfer instead of by card.
Someone else's name is on my receipt.
The bank sent the payment back and you added a fee.
I paid for ten seats and we only have six people.
What does the plan with more storage cost after the first year?
I downgraded in April and still pay the old price.
Please stop the renewal of my subscription.
The voucher from the newsletter does not lower the price.
You charged me in dollars and not in euros.
My order says unpaid although the money left my account on Monday.
I am owed a credit for the week without service.
The renewal cost twice as much as your website says.
Could you move our payment date to the end of the month?
We never received an invoice for the second seat.
I paid by mistake with my private card; please refund it.
The bill lists a feature that I have never ordered.
How many days do I have to ask for a refund?
My bank says that you have tried to take the money three times.
The family plan was cancelled, yet all five of us were charged.
I need a purchase order number on every invoice.
Do you give a discount to charities?
The charge on my card is from a company that I do not know.
When will the credit note arrive?
I have paid the fee for late payment and do not see why.
Please split the bill between two departments.
The price in the shop was lower than what I was charged.
My subscription was renewed without asking me.
Last month's bill is higher than the month before.
I changed banks and need to give you a new account number.
I bought the large plan by accident and want my money back.
The payment is pending for six days now.
Our accountant asks for the invoice in English.
I was billed for a user who left us in winter.
Your price list and my bill do not agree.
The trial was said to be free and I see a charge of one euro.
Can the receipt be made out to my wife?
I returned the subscription within a week and the refund is too small.
Two accounts are billed to one card, and only one is mine.
What is the fee called service on my statement?
The tax on the invoice is wrong for Norway.
I pay for extra storage that was included before.
Please confirm that my contract ends in June.
My employer pays now, so take my card off the account.
The coupon worked, and then the full price was charged.
A payment failed, and now I am told to pay twice.
I cannot find the invoice for the upgrade.
How can I see what I have paid so far?
You have not taken any money since autumn; is that right?
The yearly price was charged although I chose monthly.
I would like an offer for forty licences.
We were promised three months for free and got a bill.
The invoice has the wrong date.
My wife and I pay for the same thing twice.
Is the fee for the bank transfer really mine to pay?
The statement shows your name four times in one week.
I want a refund, because I did not use the app at all.
Please charge the new card and not the one that has expired.
The money for the cancelled upgrade is still missing.
Why do I pay more than my colleague for the same plan?
Nobody told me that the price would change.
Can I put the subscription on hold and pay again in autumn?
I have a question about the tax number on your bill.
The refund went to a card that no longer exists.
My purchase is listed twice in the bank's app.
I entered the voucher after paying; can you still count it?
We need a written offer before we can pay.
The total does not match the sum of the lines.
You owe me twelve euros since the summer.
I thought that I had cancelled, but there is a new charge.
Please send the bill by post.
A deposit was taken that is not in the contract.
I was told that students pay half.
The seat for my colleague was charged for a whole year.
Paying with my phone cost me an extra fee.
I would like to know why the credit on my account is gone.
The upgrade was charged, but I am still on the small plan.
Please delete my bank details once the last payment is done.
The crash last week cost us two days; I want a credit for that.
After the update I was charged for a plan that I had not chosen.
The button said free, and pressing it took forty euros.
Your page shows an error in the sum that I owe.
"""

_FAULT = """
The app crashes when I open a photo.
Since the update the screen stays black.
I cannot log in although the password is right.
The search finds nothing, not even notes that I see.
My notes do not appear on the second phone.
The button for sharing does nothing.
Pictures are upside down after the upload.
The page loads for minutes and then shows an error.
I get the message error 504 every morning.
The sound is missing in all of my videos.
Sync stops at half and never goes on.
The app is very slow since last week.
It freezes as soon as I write more than a page.
The password reset mail does not arrive.
Letters with accents turn into question marks.
The calendar shows all events one hour late.
My files have vanished from the shared folder.
The app drains the battery of my tablet.
I am logged out every few minutes.
The camera does not start inside the app.
Printing a note gives an empty page.
The dark mode cannot be switched off.
Links in my notes open the wrong page.
The keyboard covers the line that I am writing.
The import stopped after ten files.
Every folder is shown twice.
The app does not start on the new phone.
Voice notes are recorded without any sound.
The map is blank in the offline mode.
I cannot delete old pictures.
The export ends with an unknown error.
Reminders ring a day too late.
After scrolling for a while the app closes by itself.
The website does not work in my browser.
The fingerprint is no longer accepted.
My profile picture does not change.
Tables lose their last column when I save them.
The widget shows yesterday's list.
Two people cannot edit the same note any more.
The upload of large videos breaks off.
A grey box lies over the menu.
The code for logging in comes too late by text message.
Copying a table makes the app hang.
The list jumps back to the top all the time.
Notes that I deleted come back the next day.
The microphone is not found.
The installation stops with a warning.
My tablet says that the file is damaged.
Nothing happens when I press save.
The text is too small to read after the update.
I see the folders of another person.
The app says offline although the network works.
The scanner cuts off the edge of each page.
Our team cannot open the shared calendar.
Attachments are missing from the messages.
The screen flickers when I turn the phone.
The undo button removes the whole note.
Dragging a file into the window does nothing.
The login page goes round in circles.
All my tags are gone.
The app asks for the password on every start.
Searching for a date gives wrong results.
The backup has not run for nine days.
Video calls break off after a minute.
The spelling check marks every word.
I get ten copies of each reminder.
The pen draws next to where I point.
Half of the photos are grey squares.
The server does not answer.
My changes are lost when I close the window.
The translation button is missing.
The app will not rotate on the tablet.
Downloads stay at zero percent.
A note opens with the text of another one.
The clock on the start page is wrong.
The new version cannot read my old files.
Notifications do not go away.
The phone gets hot when the app is open.
The colours of my pictures are wrong.
The list of contacts is empty.
I cannot add a second device.
The sign for loading never stops turning.
The file that I uploaded cannot be found.
Emojis break the layout of the page.
The link in the invitation is dead.
The app closes when I plug in the headphones.
Numbers in the table are sorted as words.
The volume is far too low.
The last update removed my bookmarks.
Scrolling is jerky on the big screen.
The preview shows an older version of my note.
I cannot scroll to the end of a long text.
The menu is in the wrong language.
Dates appear in American order.
The folder cannot be renamed.
My handwriting is not recognised any more.
The video has a picture but no sound.
Opening the app twice makes it crash.
Sharing with people outside fails without a word.
The second page of the document is empty.
A search in the archive ends in a timeout.
The mouse pointer vanishes over the editor.
The app forgets my settings.
Pictures in mails are not shown.
The microphone button stays red.
I am asked to update, but there is no update.
Restoring the backup ends at ninety percent.
The lock screen does not accept my code.
The recording stops when a call comes in.
The sidebar covers my text.
An old phone number is still used for the login code.
Typing is delayed by a second.
The bar at the bottom has disappeared.
The tool for drawing is greyed out.
The same note exists three times after syncing.
The connection to the printer fails.
My folder says that I have no permission.
The photo album cannot be opened on the television.
When I zoom in the picture gets blurred.
The app crashed and took an hour of work with it.
The editor eats every second space.
Groups that I left are still on the list.
The sort order changes each time.
The page is cut off at the right.
Uploading from the camera fails with error 12.
The watch no longer talks to the phone.
The notes are there, but I cannot edit them.
Pressing enter sends the message twice.
The start page is white.
The new icon does not react.
I cannot attach a file that is larger than a photo.
The timer stops when the screen goes dark.
My comments are shown under a wrong name.
Only the first ten results can be opened.
The video player skips whole seconds.
The network test says that everything is fine, and nothing loads.
The desktop program does not see my camera.
A red sign says that syncing has failed.
The text jumps while I read.
The app hangs at the picture with the logo.
The trash cannot be emptied.
My voice is heard twice in calls.
The tablet version lacks the search.
It says that my account does not exist.
The folder for downloads is read-only now.
The letters overlap in the title.
Moving a photo makes a copy of it.
Logging in with the company account ends on an empty page.
The invoice cannot be opened: the file is damaged.
The page for payment crashes when I press pay.
My receipt is shown in Chinese letters.
The list of my payments stays empty on the phone.
The form for a new card does not take my street.
The download of the bill ends with error 500.
I cannot reach the page where I change my plan.
The price is covered by a grey box on my screen.
"""

_GREETINGS = ("", "", "Hello,", "Hi there.", "Good morning,", "Dear team,", "Hi,")
_ASIDES = (
    "",
    "",
    "I have been with you for two years.",
    "This is the second time that I write.",
    "I use it on the phone and at work.",
    "We are a small office of six people.",
    "My colleague has the same problem.",
    "It was fine until Monday.",
    "I have looked at your help pages.",
)
_CLOSINGS = (
    "",
    "",
    "Thanks.",
    "Please help.",
    "Can you look into this?",
    "What can I do?",
    "I am waiting for your answer.",
    "Best wishes",
    "Thank you for your time.",
)


def load_messages(part: str) -> tuple[list[str], list[int]]:
    """The texts of "train", "validation" or "test", and the place of each one's pile.

    Raises
    ------
    ValueError: if there is no such part.
    """
    if part not in SIZES:
        raise ValueError(f"no part {part!r}; there are {', '.join(SIZES)}")
    texts, labels = zip(*_parts()[part], strict=True)
    return list(texts), list(labels)


@functools.cache
def _parts() -> dict[str, list[tuple[str, int]]]:
    """All messages by part: each pile is shuffled, cut, dressed and mixed again."""
    # Python's own generator gives the same numbers on every machine and version.
    draw = random.Random(0)
    parts: dict[str, list[tuple[str, int]]] = {part: [] for part in SIZES}
    for label, block in enumerate((_BILLING, _FAULT)):
        matters = block.strip().split("\n")
        draw.shuffle(matters)
        for part, size in SIZES.items():
            count = size * (2 + label) // 5
            for matter in matters[:count]:
                parts[part].append((_dressed(matter, draw), label))
            del matters[:count]
    for messages in parts.values():
        draw.shuffle(messages)
    return parts


def _dressed(matter: str, draw: random.Random) -> str:
    """A message around what the matter is; the aside stands before it or after it."""
    middle = [matter, draw.choice(_ASIDES)]
    draw.shuffle(middle)
    pieces = [draw.choice(_GREETINGS), *middle, draw.choice(_CLOSINGS)]
    return " ".join(piece for piece in pieces if piece)
