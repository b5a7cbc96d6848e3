"""Countries with their capitals, and names of countries that do not exist: chapter 23's
questions about facts, and questions that have no answer.

Left out are countries whose seat of government is another city than the capital, whose
capital is disputed or has been moved or renamed of late, and those named after it.
"""

import hashlib

CAPITALS = {
    "Afghanistan": "Kabul",
    "Albania": "Tirana",
    "Angola": "Luanda",
    "Argentina": "Buenos Aires",
    "Armenia": "Yerevan",
    "Australia": "Canberra",
    "Austria": "Vienna",
    "Azerbaijan": "Baku",
    "Bangladesh": "Dhaka",
    "Belarus": "Minsk",
    "Belgium": "Brussels",
    "Bhutan": "Thimphu",
    "Botswana": "Gaborone",
    "Brazil": "Brasília",
    "Bulgaria": "Sofia",
    "Burkina Faso": "Ouagadougou",
    "Cambodia": "Phnom Penh",
    "Cameroon": "Yaoundé",
    "Canada": "Ottawa",
    "Chad": "N'Djamena",
    "Chile": "Santiago",
    "China": "Beijing",
    "Colombia": "Bogotá",
    "Croatia": "Zagreb",
    "Cuba": "Havana",
    "Cyprus": "Nicosia",
    "Denmark": "Copenhagen",
    "Ecuador": "Quito",
    "Egypt": "Cairo",
    "Eritrea": "Asmara",
    "Estonia": "Tallinn",
    "Ethiopia": "Addis Ababa",
    "Fiji": "Suva",
    "Finland": "Helsinki",
    "France": "Paris",
    "Gabon": "Libreville",
    "Germany": "Berlin",
    "Ghana": "Accra",
    "Greece": "Athens",
    "Guinea": "Conakry",
    "Guyana": "Georgetown",
    "Haiti": "Port-au-Prince",
    "Honduras": "Tegucigalpa",
    "Hungary": "Budapest",
    "Iceland": "Reykjavik",
    "India": "New Delhi",
    "Iran": "Tehran",
    "Iraq": "Baghdad",
    "Ireland": "Dublin",
    "Italy": "Rome",
    "Jamaica": "Kingston",
    "Japan": "Tokyo",
    "Jordan": "Amman",
    "Kenya": "Nairobi",
    "Kyrgyzstan": "Bishkek",
    "Laos": "Vientiane",
    "Latvia": "Riga",
    "Lebanon": "Beirut",
    "Liberia": "Monrovia",
    "Libya": "Tripoli",
    "Lithuania": "Vilnius",
    "Madagascar": "Antananarivo",
    "Malawi": "Lilongwe",
    "Mali": "Bamako",
    "Malta": "Valletta",
    "Mauritania": "Nouakchott",
    "Moldova": "Chișinău",
    "Mongolia": "Ulaanbaatar",
    "Morocco": "Rabat",
    "Mozambique": "Maputo",
    "Namibia": "Windhoek",
    "Nepal": "Kathmandu",
    "New Zealand": "Wellington",
    "Nicaragua": "Managua",
    "Niger": "Niamey",
    "Norway": "Oslo",
    "Oman": "Muscat",
    "Pakistan": "Islamabad",
    "Paraguay": "Asunción",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Qatar": "Doha",
    "Romania": "Bucharest",
    "Rwanda": "Kigali",
    "Senegal": "Dakar",
    "Serbia": "Belgrade",
    "Slovakia": "Bratislava",
    "Slovenia": "Ljubljana",
    "Somalia": "Mogadishu",
    "Spain": "Madrid",
    "Sudan": "Khartoum",
    "Sweden": "Stockholm",
    "Thailand": "Bangkok",
    "Turkey": "Ankara",
    "Uganda": "Kampala",
    "Uruguay": "Montevideo",
    "Uzbekistan": "Tashkent",
    "Venezuela": "Caracas",
    "Zambia": "Lusaka",
}

INVENTED = (
    "Abrovia",
    "Belmaria",
    "Caldovia",
    "Dranistan",
    "Elvoria",
    "Farentia",
    "Gorlandia",
    "Hestonia",
    "Ilmeria",
    "Jorvania",
    "Kelmistan",
    "Lorvania",
    "Mestoria",
    "Norvistan",
    "Orbelia",
    "Pelvania",
    "Quentoria",
    "Rostavia",
    "Selmaria",
    "Tarvonia",
    "Ulmenia",
    "Varkistan",
    "Wendoria",
    "Zelvania",
)
"""No country has one of these names."""

CHOICES = 4


def question(country: str) -> str:
    """What is asked."""
    return f"What is the capital of {country}?"


def chat(country: str, city: str) -> list[dict[str, str]]:
    """The question and an answer, right or wrong, as messages."""
    return [
        {"role": "user", "content": question(country)},
        {"role": "assistant", "content": f"The capital of {country} is {city}."},
    ]


def choices(country: str) -> list[str]:
    """Four cities to choose from, in an order of their own: the capital and three
    others; for a country that does not exist, four capitals of others.

    Drawn by SHA-256: the same on every machine.
    """

    def lot(text: str) -> bytes:
        return hashlib.sha256(f"{country}: {text}".encode()).digest()

    own = [CAPITALS[country]] if country in CAPITALS else []
    others = sorted(set(CAPITALS.values()) - set(own), key=lot)
    return sorted(own + others[: CHOICES - len(own)], key=lambda city: lot(city + "!"))
