"""What the page says in Arabic, by what it says in English. What relay's commands say stays as they say it."""

from __future__ import annotations

_PAGES = {
    "A day and a week": "يوم وأسبوع",
    "A moment": "لحظة",
    "All events": "كل الأحداث",
    "All is well: relay delivers to {backend}.": "كل شيء على ما يرام: relay يسلّم إلى {backend}.",
    "As of {time}": "حتى {time}",
    "Changed since": "تغيّرت منذ",
    "Compare": "قارن",
    "Compares Moodle's tables with what was sent, and finds what the log never said.": (
        "يقارن جداول Moodle بما أُرسل، ويجد ما لم يذكره السجل."
    ),
    "Course": "المقرر",
    "Delivered": "سُلّم",
    "Delivered, by six hours": "ما سُلّم في كل ست ساعات",
    "Delivered, by the hour": "ما سُلّم في كل ساعة",
    "Done": "أُنجز",
    "Done at {time}": "أُنجز في {time}",
    "Events": "الأحداث",
    "Failed": "فشل",
    "For 8 hours, in this browser.": "لمدة 8 ساعات، في هذا المتصفح.",
    "Forget": "نسيان",
    "Forget this user": "انسَ هذا المستخدم",
    "From": "من",
    "Given-up events": "الأحداث المتروكة",
    "Go on": "تابع",
    "Half of them within": "نصفها خلال",
    "How it is": "الحالة",
    "How long a row must differ": "كم يجب أن يدوم اختلاف الصف",
    "I am sure": "أنا متأكد",
    "In the outbox": "في صندوق الصادر",
    "It failed": "فشل",
    "Last error": "آخر خطأ",
    "Log out": "تسجيل الخروج",
    "Looked at what was recorded since {time}.": "نُظر فيما سُجّل منذ {time}.",
    "Moodle's user id": "رقم المستخدم في Moodle",
    "My events": "أحداثي",
    "Nothing waits to be delivered.": "لا شيء ينتظر التسليم.",
    "Nothing.": "لا شيء.",
    "Of this course alone (id)": "لهذا المقرر وحده (الرقم)",
    "Of this user alone (id)": "لهذا المستخدم وحده (الرقم)",
    "Of what": "قصة ماذا",
    "Older ones": "الأقدم",
    "Pages": "الصفحات",
    "Profile": "الملف الشخصي",
    "Progress": "التقدّم",
    "Reconcile": "المطابقة",
    "Replay": "إعادة الإرسال",
    "Replay, pause, forget": "إعادة الإرسال والإيقاف والنسيان",
    "Send it again": "أرسله مجددًا",
    "Send them": "أرسلها",
    "Send them again": "أرسلها مجددًا",
    "Send what differs": "أرسل ما يختلف",
    "Pause": "إيقاف مؤقت",
    "Pause delivery": "أوقف التسليم مؤقتًا",
    "Let it go on": "دعه يتابع",
    "The config pauses delivery; only there can it be let go on.": "الإعدادات توقف التسليم، ولا يُستأنف إلا منها.",
    "Delivery is paused: {who} has asked for that. Events are captured and kept.": (
        "التسليم موقوف مؤقتًا: طلب ذلك {who}. تُلتقط الأحداث وتُحفظ."
    ),
    "Lets nothing be sent until somebody ends it. Events are captured and kept meanwhile.": (
        "لا يُرسل شيء حتى يُنهي أحد ذلك. وتُلتقط الأحداث وتُحفظ في هذه الأثناء."
    ),
    "Sends recorded events again, with their ids and bytes. What Moodle keeps from the student now is not sent.": (
        "يعيد إرسال الأحداث المسجّلة بأرقامها ومحتواها نفسه. وما يحجبه Moodle عن الطالب الآن لا يُرسل."
    ),
    "Sends the rows that Moodle has now, as events. What was sent already, and has not changed, is not sent again.": (
        "يرسل الصفوف الموجودة الآن في Moodle كأحداث. والصف الذي أُرسل ولم يتغيّر لا يُرسل مجددًا."
    ),
    "Show": "اعرض",
    "Skip to the content": "انتقل إلى المحتوى",
    "Status": "الحالة",
    "Story": "القصة",
    "Sync": "المزامنة",
    "Sync and reconcile": "المزامنة والمطابقة",
    "Takes a user's personal data out of the outbox. Their events cannot be sent again; it cannot be taken back.": (
        "يحذف البيانات الشخصية لمستخدم من صندوق الصادر. لا يمكن إرسال أحداثه مجددًا، ولا يمكن التراجع عن ذلك."
    ),
    "Also what is not delivered yet: it never will be": "وكذلك ما لم يُسلّم بعد: لن يُسلّم أبدًا",
    "Tell": "احكِ",
    "That holds the text": "التي تحوي النص",
    "That was not possible": "لم يكن ذلك ممكنًا",
    "The last events": "آخر الأحداث",
    "The oldest log row of Moodle that is to be read is {span} old.": "أقدم صف في سجل Moodle لم يُقرأ بعد عمره {span}.",
    "The oldest thing that waits": "أقدم ما ينتظر",
    "The same in numbers": "الشيء نفسه بالأرقام",
    "The story of user {id}": "قصة المستخدم {id}",
    "Their profile": "ملفه الشخصي",
    "There is no such event.": "لا يوجد حدث كهذا.",
    "There is none among those that were looked at.": "لا يوجد شيء بين ما نُظر فيه.",
    "This takes a while to find out; the page comes by itself.": "يستغرق هذا بعض الوقت؛ ستظهر الصفحة تلقائيًا.",
    "Time": "الوقت",
    "Time until 95 % were delivered": "الوقت حتى سُلّم 95 ٪",
    "Tries": "المحاولات",
    "Type": "النوع",
    "Under way: {done}": "قيد التنفيذ: {done}",
    "Under way: {done} of {total}": "قيد التنفيذ: {done} من {total}",
    "User": "المستخدم",
    "What": "ماذا",
    "What needs a person": "ما يحتاج إلى إنسان",
    "What the backend knows of user {id}": "ما يعرفه النظام الخلفي عن المستخدم {id}",
    "What to do:": "ما العمل:",
    "What was asked for before": "ما طُلب من قبل",
    "What was asked for last": "آخر ما طُلب",
    "Which": "أيّها",
    "Which rows": "أي الصفوف",
    "Which table": "أي جدول",
    "Who asked": "من طلب",
    "You are let in": "تم إدخالك",
    "You are logged out": "تم تسجيل خروجك",
    "95 % within": "95 ٪ خلال",
    "all": "الكل",
    "asked for by {who} at {time}": "طلبه {who} في {time}",
    "most: {count}": "الأعلى: {count}",
    "recorded at {time}": "سُجّل في {time}",
    "user {id}": "المستخدم {id}",
    "{count} events are not delivered yet.": "{count} من الأحداث لم يُسلّم بعد.",
    "{span} ago": "قبل {span}",
}
_WORDS = {
    "pending": "بانتظار الإرسال",
    "success": "سُلّم",
    "failed": "سيُعاد",
    "failed_all_retries": "متروك",
    "skipped": "متخطّى",
    "held": "محجوز",
    "warning": "تحذير",
    "critical": "حرج",
    "sync": "مزامنة",
    "reconcile": "مطابقة",
    "replay": "إعادة إرسال",
    "forget": "نسيان",
}
#: The conditions of `operations.health`, by their names.
_CONDITIONS = {
    "about outbox": "لا يمكن قراءة صندوق الصادر أو الكتابة فيه",
    "about stopped": "لا يعمل أي relay",
    "about moodle": "لا يمكن قراءة قاعدة بيانات Moodle",
    "about circuit": "لا يُسلّم شيء: النظام الخلفي غير متاح أو لا يعرفنا",
    "about log_store": "سجل Moodle القياسي متوقف",
    "about reading": "relay يعمل ولا يقرأ السجل",
    "about unread": "صف في سجل Moodle لم يُقرأ منذ مدة طويلة",
    "about undelivered": "حدث ينتظر التسليم منذ مدة طويلة",
    "about accounts": "المجاميع غير متطابقة",
    "about disk": "القرص الذي يحوي صندوق الصادر يكاد يمتلئ",
    "about path": "أحد مسارات النظام الخلفي مغلق",
    "about given_up": "تُرك إرسال أحداث أو رُفضت",
    "about paused": "التسليم موقوف مؤقتًا",
    "about unsigned": "لم يُضبط مفتاح توقيع",
    "about reconcile": "لم تكتمل المطابقة في وقتها",
}
_DONE = {
    "It was broken off; asked for again, it sends nothing twice.": "قُطع؛ وإذا طُلب مجددًا فلن يُرسل شيء مرتين.",
    "The running relay delivers them.": "يسلّمها relay العامل الآن.",
    "{count} events are being sent at this moment, and keep their data.": (
        "{count} من الأحداث تُرسل الآن وتبقى بياناتها."
    ),
    "{count} events are not delivered, and keep their data.": "{count} من الأحداث لم تُسلّم وتبقى بياناتها.",
    "{count} events of the outbox are not delivered.": "{count} من أحداث صندوق الصادر لم تُسلّم.",
    "{count} events of user {user} have no personal data any more.": (
        "{count} من أحداث المستخدم {user} لم تعد تحوي بيانات شخصية."
    ),
    "{count} events recorded.": "سُجّل {count} من الأحداث.",
    "{count} more were forgotten: they cannot be sent again.": "{count} غيرها نُسيت: لا يمكن إرسالها مجددًا.",
    "{count} not sent: Moodle keeps these grades from their students.": (
        "{count} لم تُرسل: يحجب Moodle هذه الدرجات عن طلابها."
    ),
    "{count} rows differ, and the log has not been read so far that it could tell.": (
        "{count} من الصفوف تختلف، ولم يُقرأ السجل إلى حيث قد يذكرها."
    ),
    "{count} rows not sent: Moodle keeps these grades from their students.": (
        "{count} من الصفوف لم تُرسل: يحجب Moodle هذه الدرجات عن طلابها."
    ),
    "{rows} rows differ; they count if they do so at {time}.": "{rows} من الصفوف تختلف؛ وتُحسب إن بقيت كذلك في {time}.",
    "{rows} rows read, {events} new events recorded, {failed} rows skipped.": (
        "قُرئ {rows} من الصفوف، وسُجّل {events} من الأحداث الجديدة، وتُخطّي {failed} من الصفوف."
    ),
    "{sent} of {meant} recorded events sent again; {failed} not delivered.": (
        "أُعيد إرسال {sent} من {meant} من الأحداث المسجّلة؛ و{failed} لم تُسلّم."
    ),
    "{table} {id}: {kind}": "{table} {id}: {kind}",
    "{table}: the config sends nothing of them, so they are not compared.": (
        "{table}: لا ترسل الإعدادات شيئًا منها، فلا تُقارن."
    ),
    "{table}: {rows} rows compared, {count} differ.": "{table}: قورن {rows} من الصفوف، ويختلف {count}.",
    "{table}: {rows} rows learned; what changes from now on is found.": (
        "{table}: سُجّلت حالة {rows} من الصفوف؛ وما يتغيّر من الآن يُكتشف."
    ),
}
_REFUSALS = {
    "A form is to come as application/x-www-form-urlencoded": (
        "يجب أن يأتي النموذج بصيغة application/x-www-form-urlencoded"
    ),
    "It is not said whether delivery is to be paused, or to go on": "لم يُذكر هل يوقف التسليم أم يتابع",
    "It is not said which events are to be sent again": "لم يُذكر أي الأحداث يُعاد إرسالها",
    "It is not said which rows are to be sent": "لم يُذكر أي الصفوف يُرسل",
    "It is not said which table is to be compared": "لم يُذكر أي جدول يُقارن",
    "It is not said who is to be forgotten": "لم يُذكر من يُنسى",
    "Nobody was forgotten: it cannot be taken back, and nothing says that you are sure": (
        "لم يُنسَ أحد: لا يمكن التراجع عن ذلك، ولم تؤكّد أنك متأكد"
    ),
    "Something else is being done at this moment": "يجري تنفيذ شيء آخر الآن",
    "That cannot be done here": "لا يمكن فعل ذلك هنا",
    "The address is no text in UTF-8": "العنوان ليس نصًا بترميز UTF-8",
    "The fields of the form, or of the address, cannot be read": "لا يمكن قراءة حقول النموذج أو العنوان",
    "There is no such page": "لا توجد صفحة كهذه",
    "This form comes from another site, or does not say where it comes from": (
        "يأتي هذا النموذج من موقع آخر، أو لا يذكر من أين يأتي"
    ),
    "This form is too old, or is not yours": "هذا النموذج قديم جدًا، أو ليس لك",
    "This is a fault in relay": "هذا عطل في relay",
    "This link lets nobody in: it was used, or is older than 5 minutes": (
        "هذا الرابط لا يُدخل أحدًا: استُعمل من قبل، أو مضى عليه أكثر من 5 دقائق"
    ),
    "This page has another name": "لهذه الصفحة اسم آخر",
    "You may not see or do this": "لا يحق لك رؤية هذا أو فعله",
}
ARABIC = {**_PAGES, **_WORDS, **_CONDITIONS, **_DONE, **_REFUSALS}
